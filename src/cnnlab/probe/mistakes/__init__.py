"""What a trained network gets wrong, how sure it is, and where its last features put the images."""
