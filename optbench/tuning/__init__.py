"""Hyper-parameters chosen for every arm by the same number of trials, on validation."""
