"""Text to tokens: the tokenizer and its chat template."""
