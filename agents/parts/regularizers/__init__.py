"""Regularizers: terms of the loss that need more than log-probabilities."""
