"""qmrunner's own chemistry steps, each in its own Python process: embedding, shifts, drawings."""
