"""The weights of one layer, before and after training."""

from cnnlab.interpret.weights import view as view
