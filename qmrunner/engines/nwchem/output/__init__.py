"""What a run printed and left: tasks, energies, quantities, aborts. One small reader per quantity."""
