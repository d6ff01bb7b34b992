"""Processes: the supervisor, the consumer, the guardians, and what they know of the machine."""
