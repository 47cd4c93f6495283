"""From a checkpoint to a compiled engine inside a Triton model repository."""
