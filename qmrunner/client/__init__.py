"""Qmrunner for programs in Python."""
