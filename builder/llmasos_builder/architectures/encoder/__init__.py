"""Encoders: networks that see each text once and whole, described once for all families."""
