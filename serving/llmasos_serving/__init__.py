"""What runs beside Triton: starting, watching and ending a server."""
