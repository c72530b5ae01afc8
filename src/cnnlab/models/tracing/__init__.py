"""Any network followed from the image to the logits, on tensors without numbers."""
