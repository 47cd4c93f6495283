"""The compiler for CPUs: writes networks as OpenVINO IR."""
