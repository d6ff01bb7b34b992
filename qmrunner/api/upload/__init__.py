"""Untrusted uploads: read, checked and parsed in separate processes, never in the server."""
