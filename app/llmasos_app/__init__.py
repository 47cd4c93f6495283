"""LLM and AsyncLLM, the command line, the engine cache, memory planning, diagnosis."""
