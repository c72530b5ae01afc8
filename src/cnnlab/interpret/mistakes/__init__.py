"""The classification errors of a trained network."""

from cnnlab.interpret.mistakes import view as view
