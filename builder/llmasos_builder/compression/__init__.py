"""Compression of checkpoints, and the calibration that it is guided by."""
