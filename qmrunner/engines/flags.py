"""Checks of command-line flags for xTB and CREST. Both ignore unknown or unreadable flags, some without a message, so
they are refused here, before a run computes something other than requested.

Flags are kept without dashes: both programs accept one dash or two, and distinguish upper and lower case.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

from qmrunner.errors import UsageError, nearest

Kind = Literal["integer", "number", "length", "methods"]
_FLAG = re.compile(r"-+[A-Za-z]")
_INTEGER = re.compile(r"[-+]?\d+")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?")
_KINDS: dict[Kind, tuple[re.Pattern[str], str]] = {
    "integer": (_INTEGER, "a whole number"),
    "number": (_NUMBER, "a number"),
    "methods": (re.compile(r"\A[^\s:]++:[^\s:]++"), "two methods with a colon between them, such as gfn2:gfnff,"),
    "length": (re.compile(rf"[xX]?{_NUMBER.pattern}"), "a number, or x and a factor"),
}


@dataclass(frozen=True, slots=True)
class Flags:
    """What a program knows: `known` flags, the `kinds` of those that need a number, the `choices` for the word after a
    flag, how many words each takes at most (`takes`; None: stray words are not checked), those of which it obeys
    only the first (`runs`), and how many words it takes in any case, flags among them (`needs`)."""

    program: str
    known: frozenset[str]
    kinds: Mapping[str, Kind]
    choices: Mapping[str, Collection[str]] = field(default_factory=dict)
    takes: Mapping[str, int] | None = None
    runs: frozenset[str] = frozenset()
    needs: Mapping[str, int] = field(default_factory=dict)


def name_of(word: str) -> str | None:
    """The flag that `word` is, without its dashes; None for a value, a negative number among them."""
    return word.lstrip("-") if _FLAG.match(word) else None


def check(flags: Flags, args: Sequence[str], *, known_only: bool = True) -> None:
    """Raise UsageError `unknown_flag` for a flag that the program does not know and would ignore, `bad_flag_value` for
    a value that it could not read, `flags_conflict` for a second kind of run. Without `known_only`, flags that this
    table does not know are allowed."""
    room = 0
    runs = [word for word in args if name_of(word) in flags.runs]
    if len(set(map(name_of, runs))) > 1:
        raise _second_run(flags, *runs[:2])
    for at, word in enumerate(args):
        name = name_of(word)
        following = args[at + 1] if at + 1 < len(args) else None
        if name is None:
            room -= 1
            if room < 0 and flags.takes is not None:
                raise _stray(flags, word, args[at - 1] if at else None)
            continue
        if name in flags.known:
            _check_value(flags, word, name, following)
            _check_needs(flags, word, name, args[at + 1 :])
        elif known_only:
            raise _unknown(flags, word, name)
        room = (flags.takes or {}).get(name, 0 if name in flags.known else len(args))


def _check_value(flags: Flags, word: str, name: str, following: str | None) -> None:
    if name in flags.kinds:
        pattern, wanted = _KINDS[flags.kinds[name]]
        if following is None or not pattern.fullmatch(following):
            raise _bad_value(flags, word, following, wanted, "")
    choices = flags.choices.get(name)
    if choices is not None and following is not None and name_of(following) is None and following not in choices:
        near = nearest(following, tuple(choices))
        raise _bad_value(
            flags, word, following, f"one of {', '.join(choices)}", f"did you mean {near}? " if near else ""
        )


def _check_needs(flags: Flags, word: str, name: str, following: Sequence[str]) -> None:
    needed = flags.needs.get(name, 0)
    values = sum(1 for _ in takewhile(lambda other: name_of(other) is None, following[:needed]))
    if values < needed:
        other = following[values] if values < len(following) else None
        wanted = "a word" if needed == 1 else f"{needed} words"
        raise _bad_value(flags, word, other, wanted, "", "the program would take the next flag for it")


def _bad_value(flags: Flags, word: str, value: str | None, wanted: str, hint: str, evidence: str = "") -> UsageError:
    got = "nothing" if value is None else repr(value)
    return UsageError(
        "bad_flag_value",
        f"{flags.program} needs {wanted} after {word}, not {got}",
        evidence=evidence or "the program would use its default, or 0",
        remedy=f"{hint}write {word} and the value after it, separated by a blank",
    )


def _unknown(flags: Flags, word: str, name: str) -> UsageError:
    plain = name.split("=")[0]
    if plain != name and plain in flags.known:
        hint = f"write --{plain} {name.partition('=')[2]}, without the ="
    else:
        near = nearest(name, tuple(flags.known))
        hint = f"did you mean --{near}?" if near else "leave it out"
    return UsageError(
        "unknown_flag",
        f"{flags.program} does not know {word}",
        evidence="it would ignore the flag, and the run would still succeed",
        remedy=f"{hint}; on your own machine, --unconfined passes it to a newer {flags.program}",
    )


def _second_run(flags: Flags, first: str, second: str) -> UsageError:
    return UsageError(
        "flags_conflict",
        f"{flags.program} does one kind of run at a time: with {first} it ignores {second} without a message",
        evidence=f"{first} {second}",
        remedy="submit a job for each; --ohess optimises and then computes frequencies, --omd continues with dynamics",
    )


def _stray(flags: Flags, word: str, before: str | None) -> UsageError:
    return UsageError(
        "unknown_flag",
        f"{flags.program} takes no word {word!r} " + (f"after {before}" if before else "there"),
        evidence="it would ignore the word without a message",
        remedy="leave it out, or put its flag in front of it",
    )
