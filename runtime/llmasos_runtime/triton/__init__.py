"""The Python models that Triton runs: tokenizer, engine and detokenizer."""
