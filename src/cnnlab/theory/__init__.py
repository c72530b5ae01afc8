"""What a pencil can do: output sizes, receptive fields, cost. No torch."""
