"""Networks of an encoder and a decoder that attends to it (Vaswani et al., arXiv:1706.03762)."""
