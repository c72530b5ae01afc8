"""Optimizers, and the groups of parameters that they step."""
