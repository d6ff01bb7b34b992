"""Checks of a job's name, of its group, and of its key, with which a repeated submission returns the same job. Pure.

Any character is allowed that a database can store and index: every output escapes special characters (`visible`).
"""

from __future__ import annotations

LONGEST = 200  # characters, the width of the store's columns


def check_name(given: str | None) -> None:
    """Raise ValueError with the reason if it is not allowed."""
    if given is not None:
        _check(given)


def check_group(given: str | None) -> None:
    """Raise ValueError with the reason if it is not allowed."""
    if given is not None:
        if not given.strip():
            raise ValueError("it is empty")
        if '"' in given:
            raise ValueError("it contains a double quote")  # the language of the job list could not name it
        _check(given)


def check_key(given: str | None) -> None:
    """Raise ValueError with the reason if it is not allowed."""
    if given is not None:
        if not given:
            raise ValueError("it is empty")
        _check(given)


def _check(given: str) -> None:
    if len(given) > LONGEST:
        raise ValueError(f"it has {len(given)} characters, {LONGEST} are allowed")
    if "\0" in given or any("\ud800" <= character <= "\udfff" for character in given):
        raise ValueError("it contains a NUL character or half of a surrogate pair, which cannot be stored as text")
