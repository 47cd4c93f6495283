"""Networks compiled with TensorRT, for NVIDIA GPUs."""
