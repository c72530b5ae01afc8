"""What a trained network is taken away for: prediction."""
