"""Arms × seeds: planned, run once each, and analysed."""
