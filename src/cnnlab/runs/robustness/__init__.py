"""Trained networks tested under corruptions."""
