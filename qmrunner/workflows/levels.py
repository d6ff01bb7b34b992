"""Levels of theory of an NMR prediction."""

from __future__ import annotations

from dataclasses import dataclass

from qmrunner.errors import UsageError, nearest

FUNCTIONAL = "b3lyp"
# Names as in NWChem's basis library, which has these sets up to krypton and up to calcium.
SMALL_BASIS = "6-31G*"
LARGE_BASIS = "6-311+G(2d,p)"
BASIS_ENDS_AT = {SMALL_BASIS: "Kr", LARGE_BASIS: "Ca"}


@dataclass(frozen=True, slots=True)
class Level:
    """One level: basis of the optimisation and of the shielding; `last_element` is the heaviest both describe.

    Without `optimise_basis` xTB's optimised structure is the final one, and `optimise_steps` is not used.
    """

    key: str
    about: str
    functional: str
    optimise_basis: str | None
    shielding_basis: str
    optimise_steps: int
    response_iterations: int

    @property
    def xtb_structures(self) -> bool:
        """Whether the shieldings are computed on xTB structures."""
        return self.optimise_basis is None

    @property
    def last_element(self) -> str:
        return BASIS_ENDS_AT[self.shielding_basis]


LEVELS: tuple[Level, ...] = (
    Level("quick", "B3LYP/6-31G* shieldings on GFN2-xTB structures", FUNCTIONAL, None, SMALL_BASIS, 0, 50),
    Level("draft", "B3LYP/6-31G* throughout", FUNCTIONAL, SMALL_BASIS, SMALL_BASIS, 60, 50),
    Level(
        "production",
        "B3LYP/6-311+G(2d,p) shieldings on B3LYP/6-31G* structures",
        FUNCTIONAL,
        SMALL_BASIS,
        LARGE_BASIS,
        100,
        50,
    ),
)
KEYS: tuple[str, ...] = tuple(level.key for level in LEVELS)


def find_level(name: str) -> Level:
    """The level called `name`. Raises UsageError `unknown_level` with the nearest match."""
    for level in LEVELS:
        if level.key == name.strip().lower():
            return level
    near = nearest(name, KEYS)
    hint = f"did you mean {near}? " if near else ""
    raise UsageError(
        "unknown_level", f"unknown level {name!r}", evidence=name, remedy=f"{hint}known are {', '.join(KEYS)}"
    )
