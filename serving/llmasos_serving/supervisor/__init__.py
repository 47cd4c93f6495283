"""Keeps a server and its gateway running: finds what is dead or stuck, and starts it again."""
