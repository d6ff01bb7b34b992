"""qmrunner: a supervisor and job runner for quantum chemistry."""

__version__ = "0.3.0"
