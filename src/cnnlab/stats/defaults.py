"""What every comparison is judged by where nobody says otherwise. Nothing is loaded, so that a command can show it."""

# The smallest difference of interest, of fractions: 0.2 points of accuracy. A loss has no usual one.
SMALLEST_DIFFERENCE = 0.002
# The rate of wrong verdicts allowed.
ALPHA = 0.05
