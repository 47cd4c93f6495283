"""Clients of a running Triton server."""
