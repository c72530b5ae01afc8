"""The learning-rate range test."""

from cnnlab.training.lr_finder import view as view
