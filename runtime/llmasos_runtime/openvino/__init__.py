"""The model runner for CPUs: a stateful OpenVINO IR, converted to paged attention when loaded."""
