"""One attempt of a step, from the claim to the commit."""
