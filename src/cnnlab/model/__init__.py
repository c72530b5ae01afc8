"""A layer table to a module: build, blocks, initialisation."""
