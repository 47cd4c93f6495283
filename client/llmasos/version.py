"""The product's version, which a plan records."""

__version__ = "0.1.0"
