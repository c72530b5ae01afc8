"""`cnnlab theory`: what can be worked out before anything is trained."""
