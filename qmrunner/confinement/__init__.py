"""Kernel confinement of engines: derives a policy from an engine's needs, and applies it."""
