"""The language of the job list: `state:failed code:hung owner:alice group:batch7 smiles:CCO since:7d text`. Pure.

A word with a known key and a colon is a condition, every other word a part of the job's name. Values of one key are
alternatives, as are values between commas; conditions of several keys must all hold. Double quotes keep spaces and
colons together: `group:"my batch"`, `"ratio: 3"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from qmrunner.errors import UsageError, nearest
from qmrunner.model.job_filter import JobFilter
from qmrunner.model.states import JobState

T = TypeVar("T")
LONGEST = 2000
KINDS = ("nmr", "conformers", "nwchem", "crest", "xtb", "huey")
_MOST_TERMS = 50
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')
_KEYED = re.compile(r"([A-Za-z_]+):(.*)", re.DOTALL)
_AGE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_ALIASES = {"structure": "smiles", "inchikey": "smiles", "text": "name"}
KEYS = ("state", "kind", "code", "owner", "group", "name", "smiles", "since", "until")
_LISTED = ("state", "kind", "code")  # their values contain no comma
_STATES = {"waiting": JobState.QUEUED}
_LATEST_S = 253402300799.0  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `str()` writes it so that `parse` reads the same."""

    key: str
    value: str

    def __str__(self) -> str:
        plain = self.value and not re.search(r'[\s":]', self.value)
        value = self.value if plain or self.key in ("since", "until", "smiles") else f'"{self.value}"'
        return value if self.key == "name" else f"{self.key}:{value}"


@dataclass(frozen=True, slots=True)
class Query:
    """The terms in the order typed, each once, and the filter that they make."""

    terms: tuple[Term, ...]
    filter: JobFilter

    def without(self, term: Term) -> str:
        """The text of the query without one term."""
        return " ".join(str(other) for other in self.terms if other != term)


def parse(text: str, now: float) -> Query:
    """The query of a text; ages count back from `now`, Unix seconds. Raises UsageError `bad_query`."""
    if len(text) > LONGEST:
        raise _bad(f"the query has more than {LONGEST} characters", text[:50], "make it shorter")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise _bad("the query contains a character that no text has", ascii(text[:50]), "remove it")
    if text.count('"') % 2:
        raise _bad("a quote is not closed", text[-50:], 'write both quotes, as in group:"my batch"')
    found = dict.fromkeys(term for word in _WORD.findall(text) for term in _terms(word))
    if len(found) > _MOST_TERMS:
        raise _bad(f"the query has more than {_MOST_TERMS} conditions", None, "make it shorter")
    return Query(tuple(found), _filter(tuple(found), now))


def both(first: JobFilter, second: JobFilter) -> JobFilter:
    """The conditions of both; where both have values of one field, all of them are alternatives, and of single values
    that of `second` counts."""
    found: dict[str, Any] = {}
    for field in fields(JobFilter):
        mine, others = getattr(first, field.name), getattr(second, field.name)
        listed = isinstance(mine, tuple)
        found[field.name] = tuple(dict.fromkeys((*mine, *others))) if listed else mine if others is None else others
    return JobFilter(**found)


def _terms(word: str) -> list[Term]:
    keyed = None if word.startswith('"') else _KEYED.fullmatch(word)
    if keyed is None:
        return [Term("name", plain)] if (plain := word.replace('"', "")) else []
    key = _ALIASES.get(keyed[1].lower(), keyed[1].lower())
    if key not in KEYS:
        near = nearest(key, KEYS)
        hint = f"did you mean {near}:? " if near else ""
        raise _bad(
            f"there is no key {key[:40]}:", word[:80],
            f'{hint}known are {", ".join(KEYS)}; write "{word[:80]}" in quotes to search for it',
        )  # fmt: skip
    value = keyed[2].replace('"', "")
    if not value:
        raise _bad(f"{key}: has no value", word[:80], f"write one behind the colon, as in {_EXAMPLES[key]}")
    values = [part for part in value.split(",") if part] if key in _LISTED else [value]
    return [Term(key, each) for each in values]


_EXAMPLES = {
    "state": "state:failed", "kind": "kind:nmr", "code": "code:hung", "owner": "owner:alice", "group": "group:batch7",
    "name": "name:aspirin", "smiles": "smiles:CCO", "since": "since:7d", "until": "until:2026-11-25",
}  # fmt: skip


def _filter(terms: Sequence[Term], now: float) -> JobFilter:
    def of(key: str) -> tuple[str, ...]:
        return tuple(term.value for term in terms if term.key == key)

    return JobFilter(
        states=_known(of("state"), "state", [*JobState], _STATES),
        kinds=_known(of("kind"), "kind", KINDS, {}),
        codes=of("code"),
        owners=of("owner"),
        groups=of("group"),
        words=of("name"),
        structure=_single(of("smiles"), "smiles", str),
        since=_single(of("since"), "since", lambda value: when(value, now)),
        until=_single(of("until"), "until", lambda value: when(value, now)),
    )


def _known(values: Sequence[str], key: str, known: Sequence[str], also: Mapping[str, str]) -> tuple[str, ...]:
    found = []
    for value in values:
        word = str(also.get(value.lower(), value.lower()))
        if word not in known:
            near = nearest(word, [*known, *also])
            hint = f"did you mean {near}? " if near else ""
            raise _bad(f"{value[:40]!r} is not a {key}", f"{key}:{value[:40]}", f"{hint}known are {', '.join(known)}")
        found.append(word)
    return tuple(dict.fromkeys(found))


def _single(values: Sequence[str], key: str, read: Callable[[str], T]) -> T | None:
    if len(values) > 1:
        raise _bad(f"{key}: is given twice", ", ".join(values)[:80], "keep one of them")
    return read(values[0]) if values else None


def when(text: str, now: float) -> float:
    """Unix seconds of an age (`90m`, `12h`, `7d`, `2w`) or of a time in ISO 8601 (`2026-11-25`, UTC where it names no
    zone). Raises UsageError `bad_query`."""
    if age := _AGE.fullmatch(text.lower()):
        return max(0.0, now - float(age[1]) * _SECONDS[age[2]])
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0.0 <= seconds <= _LATEST_S:
        raise _bad(f"{text[:40]!r} is neither an age nor a time", None, "write 12h, 7d, 2w, or 2026-11-25T18:00")
    return seconds


def _bad(message: str, evidence: str | None, remedy: str) -> UsageError:
    return UsageError("bad_query", message, evidence=evidence, remedy=remedy)
