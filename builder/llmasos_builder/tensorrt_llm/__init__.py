"""Plans for TensorRT-LLM, which compiles the checkpoint itself."""
