"""KV cache memory: blocks, slots, and the prefix cache."""
