"""The verbs of the command line: options and their help. What a verb does is in `optbench.commands`."""
