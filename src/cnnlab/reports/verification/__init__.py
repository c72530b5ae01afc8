"""Published figures against measured ones, and runs against themselves."""
