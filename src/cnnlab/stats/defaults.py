"""Defaults of all comparisons; importing them loads nothing, so that `--help` can show them."""

# The metric that recipes are compared by.
METRIC = "validation_accuracy"
# The smallest difference of interest of a fraction: 0.2 points of accuracy. A loss has no default.
SMALLEST_DIFFERENCE = 0.002
# The significance level.
ALPHA = 0.05
