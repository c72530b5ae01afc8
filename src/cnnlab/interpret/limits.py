"""How many pictures one output may hold. Nothing is loaded, so that a command can show the limits in its help."""

# More are minutes of drawing, and a picture of tens of MB in which nothing is to be seen.
MAX_SHOWN = 256
# Of each filter: several of them stand below each other.
MAX_PATCHES = 64
