"""Intervals and verdicts. No torch."""
