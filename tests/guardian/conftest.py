"""A real spawner, and attempts handed to it."""

from tests.processes import all_gone, spawning

__all__ = ["all_gone", "spawning"]
