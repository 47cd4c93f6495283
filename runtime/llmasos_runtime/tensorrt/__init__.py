"""How TensorRT engines run. None of it has run on a GPU yet."""
