"""What strangers upload: read, checked and parsed beside the server, never in it."""
