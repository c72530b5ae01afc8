"""Inside a network: filters, activations, attributions, mistakes, receptive fields."""
