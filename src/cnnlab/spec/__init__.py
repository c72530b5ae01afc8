"""What the user writes: the call grammar, registries, layer tables, the trace, recipes. No torch."""
