"""Reads the output and files of a run: tasks, energies, quantities, aborts. One small reader per quantity."""
