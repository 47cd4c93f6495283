"""Runs requests with NVIDIA's package tensorrt_llm. None of it has run with that package yet."""
