"""The engine plan, which the builder writes and the runtime reads."""
