"""Sensitivity of every layer to translations of the image."""

from cnnlab.interpret.translation import view as view
