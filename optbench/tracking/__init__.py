"""Weights & Biases: runs of a suite as they train or later, from their records. No number of a run depends on it."""
