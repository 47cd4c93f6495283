"""Answer many prompts together, each with sampling of its own.

    python examples/batch.py [MODEL] < prompts.txt

One prompt is read from each line. Continuous batching lets prompts and answers share the
steps of the engine; the results come in the order of the prompts.
"""

import sys

from llmasos import LLM, SamplingParams

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
prompts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
params = [
    SamplingParams(max_tokens=32, temperature=0.7, seed=number) for number in range(len(prompts))
]

with LLM(model) as llm:
    results = llm.generate(prompts, params)

for prompt, result in zip(prompts, results, strict=True):
    print(f"{prompt!r} -> {result.text!r} ({result.finish_reason})")
print(f"{sum(result.usage.num_output_tokens for result in results)} new tokens")
