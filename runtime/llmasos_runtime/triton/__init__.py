"""How Triton reaches the engine: what its four models do, and how its server is run."""
