"""The model runner for TensorRT engines. None of it has run on a GPU yet."""
