"""Converts molecules into numbers.

Only this package uses RDKit, numpy and matplotlib. It runs in its own process, under a guardian (`python -m
qmrunner.chemistry`); the submit command uses `structures` alone, to check a user's input.
"""
