"""Runs the commands of a recipe one after the other: prune, distill, quantize, build, evaluate."""
