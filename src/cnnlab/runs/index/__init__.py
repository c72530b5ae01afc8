"""The runs of a folder, listed, grouped and compared. No torch."""
