"""LLMasOS beside other ways to run the same model on a CPU: one protocol, one process per peer."""
