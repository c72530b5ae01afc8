"""A trained network used elsewhere."""
