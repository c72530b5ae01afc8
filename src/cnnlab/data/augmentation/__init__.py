"""Random changes of training images, a batch at a time on the device."""
