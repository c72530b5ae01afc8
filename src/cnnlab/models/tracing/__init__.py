"""Trace any network from the image to the logits, on meta tensors."""
