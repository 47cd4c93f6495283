"""Perplexity of a compiled engine, and its distance to another engine of its checkpoint.

All of it uses teacher forcing: the engine is given the text's own tokens, never those that it
would choose.
"""
