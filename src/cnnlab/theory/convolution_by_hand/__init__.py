"""A convolution worked out element by element."""
