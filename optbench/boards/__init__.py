"""Published boards: what others measured, as files with their sources; and a suite's own numbers beside them."""
