"""Convolution by hand: every product, on a sheet, in a picture, and on a page that is stepped through. No torch."""
