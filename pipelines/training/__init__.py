"""Training of dense encoders, sparse encoders and cross-encoders: losses, trainer and recipes."""

TRIAL = ".trial"
"""Folder within the output folder that the model is saved to before the first step, and removed from again."""
