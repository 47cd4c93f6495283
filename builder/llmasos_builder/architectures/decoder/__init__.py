"""The decoder: one definition for every decoder family."""
