"""Runs a model's graph on the machine with the GPU and measures what happens."""
