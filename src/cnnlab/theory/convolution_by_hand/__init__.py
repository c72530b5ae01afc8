"""Convolution by hand, with every product."""

from cnnlab.theory.convolution_by_hand import view as view
