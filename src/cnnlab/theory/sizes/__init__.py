"""Sizes of sliding windows: what comes out, any quantity from the others, and the size of a map as a rule. No torch."""
