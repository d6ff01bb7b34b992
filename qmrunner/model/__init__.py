"""Values and pure rules. Nothing here reads a clock, a file or a database."""
