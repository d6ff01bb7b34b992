"""One task of each kind that Huey knows, every one of which notes what happens to it."""
