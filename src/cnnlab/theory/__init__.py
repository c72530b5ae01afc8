"""Convolution arithmetic, convolution by hand, and the receptive field along one dimension. No torch."""
