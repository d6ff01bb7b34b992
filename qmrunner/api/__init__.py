"""The HTTP API of `qmrunner serve`: the same jobs, checks and errors as on the command line.

Needs the optional part `qmrunner[api]`; nothing else in the program imports this room but `cli/serve.py`.
"""
