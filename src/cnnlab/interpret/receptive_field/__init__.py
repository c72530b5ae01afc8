"""Receptive fields of a network, by its layers and by gradients."""
