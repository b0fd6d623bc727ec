"""From settings to a trained model: one recipe for each kind of model, and the whole way from a collection."""
