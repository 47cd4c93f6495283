"""Load a model into this process, continue a prompt, and stream another.

    python examples/in_process.py [MODEL]

MODEL: a checkpoint directory, a GGUF file, a hub id, `smollm2-135m-instruct`, or what
`llmasos build` wrote. A checkpoint is compiled when it is first used and kept in the cache.
"""

import sys

from llmasos import LLM, SamplingParams

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

with LLM(model) as llm:
    print(llm.generate_text("The capital of France is", max_tokens=16))

    sampled = SamplingParams(max_tokens=32, temperature=0.8, top_p=0.95, seed=7)
    for piece in llm.stream("Once upon a time", sampled):
        print(piece.text, end="", flush=True)
        if piece.finish_reason is not None:
            print(f"\n({piece.finish_reason}, {piece.usage})")
