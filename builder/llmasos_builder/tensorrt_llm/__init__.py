"""Plans whose checkpoint TensorRT-LLM compiles."""
