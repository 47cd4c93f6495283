"""Which sequences share the next step."""
