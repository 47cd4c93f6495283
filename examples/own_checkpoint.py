"""Compile a checkpoint of your own into a model repository, and run it in this process.

    python examples/own_checkpoint.py CHECKPOINT OUTPUT

CHECKPOINT: a directory that transformers' `save_pretrained` wrote, or a GGUF file.
OUTPUT: the repository to write; `llmasos serve OUTPUT` serves it afterwards.
"""

import subprocess
import sys

from llmasos import LLM

checkpoint, repository = sys.argv[1:]
build = ["llmasos", "build", checkpoint, "--precision", "int8", "--output", repository]
if subprocess.run(build, check=False).returncode != 0:
    sys.exit(1)  # the command has said why, in one line

with LLM(repository) as llm:
    plan = llm.plan
    print(f"{plan.architecture} in {plan.precision}, KV cache in {plan.kv_cache_precision}")
    print(f"at most {plan.limits.max_seq_len} tokens in one prompt and its answer")
    print(llm.generate_text("Once upon a time", max_tokens=24))
