"""Steps of ours that run in a Python of their own: embedding, shifts, pictures."""
