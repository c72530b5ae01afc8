"""Logits, metrics, and images under corruptions."""
