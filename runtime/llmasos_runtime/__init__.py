"""What runs an engine: scheduler, KV blocks, sampler, executor, and the Triton launcher."""
