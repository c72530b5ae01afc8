"""Limits on what is shown at once. Nothing is imported, so that a command can show them in its help."""

# More take minutes to draw, into a file of tens of MB.
MAX_SHOWN = 256
# For each filter, when several filters are shown.
MAX_PATCHES = 64
