"""What the verbs of the command line do: each returns data or text, and prints nothing."""
