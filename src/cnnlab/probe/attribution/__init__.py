"""What in an image speaks for a class: four methods, each with its own check, and redrawn weights."""
