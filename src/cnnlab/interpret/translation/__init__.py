"""What a translation of the image does to every layer."""
