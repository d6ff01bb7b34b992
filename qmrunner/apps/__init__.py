"""Huey applications: their own command in their own interpreter, their tasks as steps."""
