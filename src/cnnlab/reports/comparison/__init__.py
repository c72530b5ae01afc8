"""Runs and studies compared."""
