"""Where data come from: one file a format, each a function that gives states (gridded) or a table of observations."""
