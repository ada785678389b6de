"""The command line: thin. A command parses, calls one function of `stormda.pipeline` and prints what it returns.

Heavy packages (torch, xarray, pandas) are imported inside the commands, so that `stormda --help` answers at once.
"""
