"""What every node of a layer sees of the image, and one node traced back through all maps."""
