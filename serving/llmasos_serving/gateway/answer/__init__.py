"""Reads an answer as it comes: what is reasoning, what is text, and what calls a tool."""
