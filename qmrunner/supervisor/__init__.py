"""`qmrunner run`: starts and restarts the other processes, forwards their logs, runs the maintenance schedule."""
