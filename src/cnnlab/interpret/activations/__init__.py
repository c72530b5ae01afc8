"""Feature maps, active units, and the patches that activate a filter most."""
