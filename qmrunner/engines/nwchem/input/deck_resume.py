"""Which user decks can resume from NWChem's own files, and what of them changes then.

Such a deck optimises first: with `restart`, without its geometry block, NWChem takes geometry, orbitals and Hessian of
the interrupted run from the run-time database and continues the optimisation; later tasks then run as they stand, at
the optimised geometry. Every other deck starts from the beginning: a geometry in the deck would replace the database's,
and a setting between two tasks, once in the database, would hold for the first task of the next run as well. A `cosmo`
block after the optimisation changed the energy of the optimisation by 12 millihartree (hydrogen peroxide, 3-21G).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import dropwhile, takewhile

from qmrunner.engines.nwchem.input import reader
from qmrunner.engines.nwchem.input.reader import Line, Statement

_THEORIES = ("dft", "scf", "mp2")
_OPTIMISE = ("optimize", "optimise")
_LATER = ("", "energy", "gradient", "freq", "frequencies", "hessian", "property")
# They act on the database, or on the geometry by name: what they mean after a restart is not known.
_NEVER = frozenset(["restart", "continue", "set", "unset", "python", "stop", "load", "ecce_print", "constraints"])
# What may follow the first task because an optimisation does not read it: statements, and the first words of blocks.
_AFTER = frozenset(["", "task", "title", "echo"])
_AFTER_BLOCKS = frozenset(["property", "freq", "frequency", "hessian"])
_OF_THE_BLOCK = frozenset(
    ["units", "angstroms", "angstrom", "an", "bohr", "au", "atomic", "nm", "pm", "noautoz", "nocenter", "center",
     "noautosym", "autosym", "print", "noprint", "xyz"]
)  # fmt: skip
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([deDE][-+]?\d+)?")


def can_resume(text: str) -> bool:
    """Whether an interrupted run of this deck (as decoded by `reader.decode`) can resume."""
    lines = reader.read(reader.encode(text))
    if any(line.included is not None for line in lines):
        return False
    statements = list(takewhile(lambda statement: not statement.broken, _of(lines)))
    if any(statement.directive in _NEVER for statement in statements):
        return False
    tasks = [[reader.lower(word) for word in statement.words[1:]] for statement in _named(statements, "task")]
    block = geometry_block(lines)
    return (
        bool(block)
        and _is_plain(block)
        and _optimises_first(tasks)
        and _before(statements, block[0])
        and _sets_nothing_later(statements)
    )


def geometry_block(lines: Sequence[Line]) -> tuple[Statement, ...]:
    """The statements of the deck's geometry block, its `end` included; empty unless there is exactly one."""
    found: list[Statement] = []
    blocks, inside = 0, False
    for statement in _of(lines):
        if not inside and statement.directive == "geometry":
            blocks, inside = blocks + 1, True
        if inside:
            found.append(statement)
            inside = statement.directive != "end"
    return tuple(found) if blocks == 1 and not inside else ()


def _of(lines: Sequence[Line]) -> list[Statement]:
    return [statement for line in lines for statement in line.statements]


def _named(statements: Sequence[Statement], directive: str) -> list[Statement]:
    return [statement for statement in statements if statement.directive == directive]


def _is_plain(block: Sequence[Statement]) -> bool:
    """Whether the block has only atoms by Cartesian coordinates, and symmetry: no blocks within it, no other files."""
    options = [reader.lower(word) for word in block[0].words[1:]]
    return all(word in _OF_THE_BLOCK for word in options) and all(map(_is_atom_or_symmetry, block[1:-1]))


def _is_atom_or_symmetry(statement: Statement) -> bool:
    words = statement.words
    return (
        not words or statement.directive == "symmetry" or (len(words) > 3 and all(map(_NUMBER.fullmatch, words[1:4])))
    )


def _optimises_first(tasks: Sequence[Sequence[str]]) -> bool:
    """One optimisation, the first task, and later tasks of the same kinds of theory."""
    if not tasks or len(tasks[0]) != 2 or tasks[0][0] not in _THEORIES or tasks[0][1] not in _OPTIMISE:
        return False
    return all(words and words[0] in _THEORIES and " ".join(words[1:2]) in _LATER for words in tasks[1:])


def _before(statements: Sequence[Statement], block: Statement) -> bool:
    """Whether the block is ahead of the first task."""
    task = _named(statements, "task")[0]
    return next(statement for statement in statements if statement is block or statement is task) is block


def _sets_nothing_later(statements: Sequence[Statement]) -> bool:
    """Whether nothing after the first task could change what that task computes."""
    inside = False
    for statement in dropwhile(lambda statement: statement.directive != "task", statements):
        if inside:
            inside = statement.directive != "end"
        elif statement.directive in _AFTER_BLOCKS:
            inside = True
        elif statement.directive not in _AFTER:
            return False
    return True
