"""Training of dense encoders, sparse encoders and cross-encoders: losses, trainer and recipes."""
