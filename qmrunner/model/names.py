"""What people and programs may call a job: its name, and the key that makes handing it in twice the same. Pure.

Any character may be in them, for every exit shows what is not plain written out (`visible`); what no store can hold or
index may not.
"""

from __future__ import annotations

LONGEST = 200  # characters, as the store has columns for


def check_name(given: str | None) -> None:
    """Raises ValueError that says what is wrong with it."""
    if given is not None:
        _check(given)


def check_key(given: str | None) -> None:
    """Raises ValueError that says what is wrong with it."""
    if given is not None:
        if not given:
            raise ValueError("it is empty")
        _check(given)


def _check(given: str) -> None:
    if len(given) > LONGEST:
        raise ValueError(f"it has {len(given)} characters, {LONGEST} are allowed")
    if "\0" in given or any("\ud800" <= character <= "\udfff" for character in given):
        raise ValueError("it holds what is no text: the character NUL, or half of a surrogate pair")
