"""How well a compiled engine predicts a text, and how far it is from another of its checkpoint.

All is teacher-forced: the engine is given the text's own tokens, never those that it would
have chosen.
"""
