"""Receptive fields of a layer table."""

from cnnlab.architecture.receptive_field import view as view
