"""Thin commands; the only place that prints."""
