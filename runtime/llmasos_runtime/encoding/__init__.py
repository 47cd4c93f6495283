"""Runs engines that see each text once and whole: embedders and classifiers."""
