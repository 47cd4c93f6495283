"""The model runner for CPUs: a stateful OpenVINO IR, made paged when it is loaded."""
