"""From files of images to batches."""
