"""The truth: every job, step, attempt, worker, reservation and event."""
