"""No text makes a regular expression of ours slow: its time grows with the length of the text, not with its square.

The texts that a pattern meets come from strangers (requests, files of engines), and a search holds the interpreter: one
slow pattern stops all threads of a server or worker.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import re._constants as sre
import re._parser as parser
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

import qmrunner

# Not loaded: they start something.
_SKIPPED = ("qmrunner.apps.side", "qmrunner.__main__", "qmrunner.chemistry.__main__")
# They search at most 500 characters of a line: the families of errquit.toml and of the traces of xTB.
_BOUNDED = ("errquit.FAMILIES", "trace.FATAL")
_LONG = 12_000
_MOST_S = 0.06  # linear patterns take 0.0001 to 0.01 s, quadratic ones 0.1 s and more
_RUNS = (" ", "\t", "\n", "1", "a", "_", "-", ".", "(", "*", '"', "1.", "=", "@", "//a:", "<", "1 ", "a ", "1,", "é")
_PUMPED = " \t\n1a_(.-"


class _Slow(Exception):
    pass


def _patterns() -> dict[str, tuple[re.Pattern[Any], bool]]:
    """Every compiled pattern that a module holds, by name, and whether it is searched for anywhere in a text."""
    found: dict[str, tuple[re.Pattern[Any], bool]] = {}
    known: set[tuple[Any, int]] = set()
    for module in pkgutil.walk_packages(qmrunner.__path__, "qmrunner."):
        if module.name.startswith(_SKIPPED):
            continue
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            for place, pattern in _within(value, f"{module.name}.{name}"):
                if (pattern.pattern, pattern.flags) not in known:
                    known.add((pattern.pattern, pattern.flags))
                    found[place] = (pattern, place != f"{module.name}.{name}" or _searches(module.name, name))
    return found


def _within(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, re.Pattern[Any]]]:
    if isinstance(value, re.Pattern):
        yield place, value
    elif depth > 4:
        return
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _within(inner, f"{place}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for at, inner in enumerate(value):
            yield from _within(inner, f"{place}[{at}]", depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _within(getattr(value, field.name, None), f"{place}.{field.name}", depth + 1)


def _searches(module: str, name: str) -> bool:
    """False where the module only ever matches the pattern at one place."""
    text = inspect.getsource(sys.modules[module])
    return len(re.findall(rf"\b{name}\b", text)) - 1 > len(re.findall(rf"\b{name}\.(?:full)?match\b", text))


def _texts(pattern: re.Pattern[Any]) -> set[str]:
    """Long texts that suit the pattern: each of its repeated parts many times, after what must come before it."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    pumps: list[tuple[str, str]] = []
    _sample(parser.parse(source, pattern.flags & (re.VERBOSE | re.IGNORECASE)), "", pumps)
    made = {run * (_LONG // len(run)) for run in _RUNS}
    for before, pumped in pumps:
        made |= {before + pumped * (_LONG // len(pumped)), (before or " ") * (_LONG // len(before or " "))}
        made.add((before + pumped) * (_LONG // len(before + pumped)))
    return made


def _sample(tree: Any, before: str, pumps: list[tuple[str, str]]) -> str:
    """A text that about matches `tree`; the repeated parts go into `pumps`, with the text before them."""
    text = ""
    for kind, value in tree:
        if kind is sre.LITERAL:
            text += chr(value)
        elif kind in (sre.NOT_LITERAL, sre.ANY):
            text += "a"
        elif kind is sre.IN:
            text += next((sign for sign in _PUMPED + "=:/Ee" if _fits(value, sign)), "~")
        elif kind is sre.SUBPATTERN:
            text += _sample(value[-1], before + text, pumps)
        elif kind is sre.ATOMIC_GROUP:
            text += _sample(value, before + text, pumps)
        elif kind is sre.BRANCH:
            first, *_ = [_sample(branch, before + text, pumps) for branch in value[1]]
            text += first
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            least, most, inner = value
            one = _sample(inner, before + text, pumps)
            if most > 100:
                pumps.append((before + text, one or "a"))
                if len(one) <= 1:
                    pumps.extend((before + text, sign) for sign in _PUMPED)
            text += one * max(least, 1)
    return text


def _fits(items: Any, sign: str) -> bool:
    return re.fullmatch(f"[{''.join(map(_item, items))}]", sign) is not None


def _item(item: tuple[Any, Any]) -> str:
    kind, value = item
    if kind is sre.NEGATE:
        return "^"
    if kind is sre.LITERAL:
        return re.escape(chr(value))
    if kind is sre.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    return {
        sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s",
        sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W",
    }[value]  # fmt: skip


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Of processor time, so that no load of the machine ends what is not slow."""

    def end(*_: Any) -> None:
        raise _Slow

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _seconds(pattern: re.Pattern[Any], searched: bool, text: str) -> float:
    given: Any = text if isinstance(pattern.pattern, str) else text.encode()
    began = time.thread_time()
    try:
        with _at_most(10 * _MOST_S):
            if searched:
                for _ in pattern.finditer(given):
                    pass
            else:
                pattern.match(given)
    except _Slow:
        pass
    return time.thread_time() - began


def _slow(pattern: re.Pattern[Any], searched: bool) -> tuple[float, str] | None:
    """Seconds and beginning of a text on which the pattern is slow twice; None without one."""
    for text in _texts(pattern):
        if _seconds(pattern, searched, text) > _MOST_S and (again := _seconds(pattern, searched, text)) > _MOST_S:
            return round(again, 3), text[:40]
    return None


def test_the_measure_finds_a_quadratic_search() -> None:
    assert _slow(re.compile(r"[0-9.]+\s*MHz"), searched=True)
    assert _slow(re.compile(r"x\s*[=:]?\s*1"), searched=False)
    assert not _slow(re.compile(r"(?<!\d)\d++\.\d+"), searched=True)


@pytest.mark.slow
def test_no_pattern_takes_more_than_linear_time() -> None:
    patterns = _patterns()
    assert len(patterns) > 200
    found = {
        name: (slow, pattern.pattern)
        for name, (pattern, searched) in patterns.items()
        if not any(bounded in name for bounded in _BOUNDED) and (slow := _slow(pattern, searched))
    }
    assert found == {}
