"""The training loop, optimizers, schedules, losses, precision and checkpoints."""
