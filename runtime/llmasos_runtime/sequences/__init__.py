"""Requests, their sequences, and the steps that sequences share."""
