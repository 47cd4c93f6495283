"""A text and how SmolLM2-135M-Instruct continues it, greedily."""

# "The quick brown fox jumps over the lazy dog", and how transformers continues it in float32
# with the same dequantized weights.
PROMPT = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767]
CONTINUATION = [198, 198, 788, 451, 1183, 28, 260, 8715, 476, 38478, 6354, 16438]
CONTINUATION += [18, 314, 253, 1273, 20607, 20993, 4352, 338, 553, 719, 804, 327]
