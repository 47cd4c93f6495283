"""A network cut over several GPUs: each matrix over parts, the layers over stages."""
