"""A layer table before training: layers, trace, graph, memory, warnings, receptive fields. No torch."""
