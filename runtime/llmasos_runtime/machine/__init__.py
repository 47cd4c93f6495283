"""What this machine has, and what an engine needs of it."""
