"""Defaults of all comparisons. Nothing is loaded, so that `--help` can show them."""

# The smallest difference of interest, of fractions: 0.2 points of accuracy. A loss has no usual one.
SMALLEST_DIFFERENCE = 0.002
# The rate of wrong verdicts allowed.
ALPHA = 0.05
