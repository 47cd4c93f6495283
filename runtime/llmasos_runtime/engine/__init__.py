"""The engine: admission, the loop of steps, and what requests have got so far."""
