"""Use a trained network elsewhere."""
