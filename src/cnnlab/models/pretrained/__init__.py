"""Backbones: architectures by name, their weights, and how they are cut and given a head."""
