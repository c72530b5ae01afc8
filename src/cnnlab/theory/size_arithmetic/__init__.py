"""Output size, padding, kernel or stride of a convolution or a pooling, one from the others."""

from cnnlab.theory.size_arithmetic import view as view
