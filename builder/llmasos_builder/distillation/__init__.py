"""Distillation: a student network is trained to predict what its teacher predicts."""
