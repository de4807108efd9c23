"""What an optimizer costs on a model and a device: whether it fits, how long a step takes, and where the time goes."""
