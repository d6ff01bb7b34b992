"""Programs that qmrunner can run: one package per program, and what their output means."""
