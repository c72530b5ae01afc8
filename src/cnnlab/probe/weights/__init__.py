"""The weights of one layer: read, measured, and drawn."""
