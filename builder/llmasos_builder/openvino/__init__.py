"""The compiler for CPUs: networks as OpenVINO IR."""
