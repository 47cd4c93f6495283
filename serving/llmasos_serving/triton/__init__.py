"""A running tritonserver: its command, ports, log and processes."""
