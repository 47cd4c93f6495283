"""The resources of this machine and the memory that an engine needs."""
