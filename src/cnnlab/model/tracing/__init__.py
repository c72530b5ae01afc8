"""Any network followed from the image to what it gives, on tensors without numbers."""
