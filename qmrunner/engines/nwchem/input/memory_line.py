"""Computes what a deck's `memory` line gives each rank, by NWChem's own rules.

Facts of NWChem 7.0.2 (input_mem.F, memory_input.F, memory_def.F), compared with it line by line
(`tests/engines/test_nwchem_memory.py`):

- The first statement that begins with `memory` decides, also if it is in an included file. NWChem ignores the others. -
Each amount has its own unit. `byte` counts words of eight bytes, as `double`, `real` and `integer` do. - Only the whole
part of an amount counts: 1.5 gb is 1 gb. From 7.2 on it is 1.5 gb. - Missing amounts get the rest of the total: a
quarter of it for the heap, a quarter for the stack, half for the global arrays. Without a total these are parts of 400
mb, and the total is the sum. - Heap and stack get at least 750,000 words, taken from the global arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from qmrunner.engines.nwchem.input import reader
from qmrunner.engines.nwchem.input.reader import Statement, lower
from qmrunner.errors import UsageError

# Returns the content of a file next to the deck; None if there is none.
Beside = Callable[[str], bytes | None]
ARENAS = ("heap", "stack", "global")
_WORDS_PER_MIB = 2**17
_UNITS = {
    "double": 1, "real": 1, "integer": 1, "byte": 1, "kb": 2**7, "mb": 2**17, "gb": 2**27, "mw": 2**20, "gw": 2**30,
}  # fmt: skip
_QUARTERS = {"heap": 1, "stack": 1, "global": 2}
_DEFAULT_WORDS = 400 * _WORDS_PER_MIB
_LOCAL_LEAST_WORDS = 750_000
_FLAGS = ("verify", "noverify", "trace", "hardfail")
_NAME_COLUMNS = 8
_NUMBER = re.compile(r"([-+]?)(\d*)(?:\.(\d*))?(?:[eEdD]([-+]?)(\d*))?")
# Beyond these limits NWChem's integers overflow, or a number becomes zero.
_MOST_WORDS, _LONGEST, _LARGEST_EXPONENT = 2**47, 40, 30
_EXAMPLE = "write for example `memory total 1000 mb`, each amount with its unit, or leave the line out"


@dataclass(frozen=True, slots=True)
class Asked:
    """The memory of each rank, in words of eight bytes.

    `flags` are the other words of the line; `file` is the included file that contains it, None for the deck itself.
    `whole`: every version of NWChem reads the line like this; 7.0.2 truncates an amount that is not a whole number.
    """

    heap: int
    stack: int
    shared: int
    flags: tuple[str, ...] = ()
    file: str | None = None
    whole: bool = True

    @property
    def total_mib(self) -> int:
        """The total of one rank in MiB, rounded up."""
        return -(-(self.heap + self.stack + self.shared) // _WORDS_PER_MIB)

    def written(self) -> str:
        """The memory line with exactly these amounts."""
        return self._line({"heap": self.heap, "stack": self.stack, "global": self.shared})

    def raised(self, arenas: str, total_mib: int) -> str:
        """The memory line for `total_mib` in which the named arenas get all of the increase, in equal parts."""
        now = {"heap": self.heap, "stack": self.stack, "global": self.shared}
        more = max(0, total_mib - self.total_mib) * _WORDS_PER_MIB
        named = arenas.split()
        return self._line({name: words + more // len(named) * (name in named) for name, words in now.items()})

    def _line(self, words: Mapping[str, int]) -> str:
        parts = (f"{name} {_amount(words[name])}" for name in ARENAS)
        return " ".join(["memory", *parts, *self.flags])


def asked(text: str, beside: Beside) -> Asked | None:
    """What the memory line of a deck (as `reader.decode` has it) gives each rank; None without such a line.

    Raises UsageError `memory_spec_invalid` for a line at which NWChem stops.
    """
    found = next(_lines(reader.encode(text), beside), None)
    return None if found is None else _of_line(*found)


def usual(total_mib: int) -> Asked:
    """How NWChem divides a total of `total_mib`."""
    return Asked(*_parted({"total": total_mib * _WORDS_PER_MIB}))


def first(lines: list[reader.Line]) -> Statement | None:
    """The memory statement of these lines that NWChem reads."""
    found = takewhile(lambda s: not s.broken, (s for line in lines for s in line.statements))
    return next((s for s in found if s.directive == "memory"), None)


def _lines(data: bytes, beside: Beside) -> Iterator[tuple[Statement, str | None]]:
    read = takewhile(lambda found: not found[0].broken, _read(data, beside, ()))
    return (found for found in read if found[0].directive == "memory")


def _read(data: bytes, beside: Beside, within: tuple[str, ...]) -> Iterator[tuple[Statement, str | None]]:
    """The statements of a deck and of the files that it includes, in order, each with its file."""
    for line in reader.read(data):
        included = None if line.included is None or line.included in within else beside(line.included)
        if included is not None:
            yield from _read(included, beside, (*within, str(line.included)))
        for statement in line.statements:
            yield statement, within[-1] if within else None


def _of_line(line: Statement, file: str | None) -> Asked:
    words = list(line.words[1:])
    if not words:
        raise _invalid(line, "gives no amount")
    given: dict[str, int] = {}
    flags: list[str] = []
    whole = True
    while words:
        word = lower(words[0][:_NAME_COLUMNS])
        if word in _FLAGS:
            flags.append(word)
            del words[0]
            continue
        name = "total"
        if word in _QUARTERS or word == "total":
            name = word
            del words[0]
        amount = _words(line, words[:2])
        whole = whole and amount[1]
        given[name] = amount[0]
        del words[:2]
    try:
        heap, stack, shared = _parted(given)
    except ValueError as problem:
        raise _invalid(line, str(problem)) from None
    return Asked(heap, stack, shared, tuple(flags), file, whole)


def _words(line: Statement, tokens: list[str]) -> tuple[int, bool]:
    """An amount in words, and whether it is a whole number of its unit."""
    number = _number(tokens[0]) if tokens else None
    if number is None:
        raise _invalid(line, f"has `{reader.shown(tokens[0])}` in place of an amount" if tokens else "lacks an amount")
    if len(tokens) < 2 or lower(tokens[1]) not in _UNITS:
        what = f"`{reader.shown(tokens[1])}` is not a unit" if len(tokens) > 1 else "a unit is missing"
        raise _invalid(line, f"cannot be read: {what} after `{reader.shown(tokens[0])}`")
    mantissa, exponent = number
    unit = _UNITS[lower(tokens[1])]
    power = 10 ** abs(exponent)
    words = mantissa * unit * power if exponent > 0 else mantissa * unit // power
    if abs(words) > _MOST_WORDS:
        raise _invalid(line, f"requests more than any machine has: `{' '.join(map(reader.shown, tokens))}`")
    return words, exponent >= 0 or mantissa % power == 0


def _number(word: str) -> tuple[int, int] | None:
    """Mantissa and power of ten of a number as NWChem reads it (inp_f); None for any other word."""
    match = _NUMBER.fullmatch(word)
    if match is None or not (match[2] or match[3]) or len(word) > _LONGEST:
        return None
    fraction = (match[3] or "").rstrip("0")
    mantissa = int(f"{match[2]}{fraction}" or "0")
    exponent = int(match[5] or "0") * (-1 if match[4] == "-" else 1)
    if abs(exponent) > _LARGEST_EXPONENT:
        return None
    return -mantissa if match[1] == "-" else mantissa, exponent - len(fraction)


def _parted(given: Mapping[str, int]) -> tuple[int, int, int]:
    """Heap, stack and global arrays. Raises ValueError where NWChem stops."""
    found = {name: given[name] for name in _QUARTERS if name in given}
    missing = {name: part for name, part in _QUARTERS.items() if name not in given}
    if "total" not in given:
        found |= {name: _DEFAULT_WORDS * part // 4 for name, part in missing.items()}
    elif missing:
        left, parts = given["total"] - sum(found.values()), sum(missing.values())
        found |= {name: left * part // parts for name, part in missing.items()}
    elif given["total"] != sum(found.values()):
        raise ValueError("has a total that is not the sum of heap, stack and global")
    found = {name: max(0, words) for name, words in found.items()}
    total = sum(found.values())
    if found["heap"] + found["stack"] < _LOCAL_LEAST_WORDS:
        half = _LOCAL_LEAST_WORDS // 2
        found = {"heap": half, "stack": half, "global": total - _LOCAL_LEAST_WORDS}
    if found["global"] <= 0:
        raise ValueError("leaves nothing for the global arrays")
    return found["heap"], found["stack"], found["global"]


def _amount(words: int) -> str:
    mib, rest = divmod(words, _WORDS_PER_MIB)
    return f"{words} double" if rest else f"{mib} mb"


def _invalid(line: Statement, what: str) -> UsageError:
    return UsageError(
        "memory_spec_invalid",
        f"the memory line {what}",
        evidence=f"line {line.line}: {reader.shown(line.text.strip())}",
        remedy=_EXAMPLE,
    )
