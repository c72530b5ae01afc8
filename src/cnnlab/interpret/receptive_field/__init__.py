"""Receptive fields of a network, by its layers and by gradients."""

from cnnlab.interpret.receptive_field import view as view
