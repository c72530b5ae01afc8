"""The receptive fields of a layer table."""
