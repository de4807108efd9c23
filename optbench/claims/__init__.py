"""Claims: sentences of papers with a criterion that was written down first, and what the records say of them."""
