"""The methods of a language model, written once: prompts in, answers and streams of pieces out."""
