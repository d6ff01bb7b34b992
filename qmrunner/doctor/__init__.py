"""Checks whether this machine can be a worker.

One function per check; each returns ok, warn or fail, and the remedy. `examine` runs all checks, `startup` the quick
ones that need no other process. Changes nothing: files written to test a folder are removed again. Works without
daemon, store or home.
"""
