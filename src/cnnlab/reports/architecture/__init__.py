"""A network before training: its table and its drawing."""
