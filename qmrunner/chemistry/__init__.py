"""Molecules in and numbers out. RDKit, numpy and matplotlib live in this package only.

It runs in its own process, under a guardian (`python -m qmrunner.chemistry`); the submit command uses
`structures` alone, to check a user's input.
"""
