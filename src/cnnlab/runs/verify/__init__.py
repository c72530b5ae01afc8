"""A run recalculated from its weights and data."""
