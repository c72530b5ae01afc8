"""What augmentation does to a batch: images N×C×H×W, uint8, and a parameter per image, given on the host."""
