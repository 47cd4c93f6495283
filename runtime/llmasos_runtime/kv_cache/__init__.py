"""Memory for keys and values: blocks, slots, and prefixes that are found again."""
