"""The weights of one layer."""
