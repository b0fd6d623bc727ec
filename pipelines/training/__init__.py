"""Training of dense, sparse and cross-encoders: losses, the trainer, model cards."""
