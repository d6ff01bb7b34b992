"""From what a user typed to a stored job: CLI and API call the same functions."""
