"""What the cells of a suite will cost, and whether they fit, before anything is spent."""
