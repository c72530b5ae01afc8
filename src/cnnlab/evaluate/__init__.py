"""Logits and metrics."""
