"""`cnnlab inspect`: looking into a network."""
