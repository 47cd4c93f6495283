"""How a TritonClient reaches its server: the same few operations over gRPC and HTTP."""
