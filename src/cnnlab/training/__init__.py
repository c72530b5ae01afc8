"""Optimisers, schedules, stopping, precision, the loop, checkpoints."""
