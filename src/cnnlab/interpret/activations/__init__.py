"""What layers make of images: feature maps, activity of units, most exciting patches."""

from cnnlab.interpret.activations import view as view
