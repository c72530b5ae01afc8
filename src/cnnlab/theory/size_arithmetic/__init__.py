"""Sizes of convolutions, poolings and transposed convolutions."""
