"""Requests, the sequences that answer them, and the steps that they share."""
