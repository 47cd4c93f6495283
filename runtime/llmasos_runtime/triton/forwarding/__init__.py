"""Requests that one model of a server passes on to the engine's process, past Triton.

A Python model of Triton can ask another by `InferenceRequest.exec`, but threads that do so at once
crash Triton 2.51's process, and what they ask goes on when the client has gone. So the engine's
process listens on a socket of its own: one connection for each request, whose end ends it.
"""
