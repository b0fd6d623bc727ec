"""Recipes: complete training runs, from data or a collection to a saved model."""
