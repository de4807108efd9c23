"""The papers' advice on data of one's own: which examples are learned later, and a file in which they weigh more."""
