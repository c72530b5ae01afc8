"""Which pixels count for a class, by several methods."""
