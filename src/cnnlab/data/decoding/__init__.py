"""Image files decoded into arrays, by several processes, and cached. No torch."""
