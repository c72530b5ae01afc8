"""From a layer table, or a pretrained network, to a module."""
