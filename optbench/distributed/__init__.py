"""One cell trained by several processes, each with its share of every batch, started by torchrun."""
