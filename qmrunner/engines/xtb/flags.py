"""The flags of xTB 6.5.1 to 6.7.1 (`src/prog/main.F90`); the reaction of 6.5.1 to wrong ones was observed in runs: it
warns about an unknown flag and an unreadable number, and silently ignores an unknown level, ``--opt=tight`` and stray
words."""

from __future__ import annotations

from qmrunner.engines.flags import Flags, Kind
from qmrunner.engines.input_check import listed

_LEVELS = (
    "-3",
    "-2",
    "-1",
    "0",
    "1",
    "2",
    "3",
    "crude",
    "sloppy",
    "loose",
    "lax",
    "normal",
    "tight",
    "verytight",
    "vtight",
    "extreme",
)
_INTEGERS = listed("P parallel c chrg charge u uhf iterations maxiterations cycles nat")
_NUMBERS = listed("a acc etemp ewin")
# The maximum number of words after each flag; flags that are not listed take none.
_TAKES = {
    **dict.fromkeys([*_INTEGERS, *_NUMBERS], 1),
    **dict.fromkeys(listed("I input namespace vparam efield gfn color driver cpcmx gbe gb"), 1),
    **dict.fromkeys(
        listed("opt o ohess bhess path modef metadyn metaopt bias-input gesc wrtopo dipro ceh"),
        1,
    ),
    **dict.fromkeys(listed("g gbsa alpb cosmo tmcosmo cpcmx oniom raman"), 2),
}
_ALONE = (
    "h help citation license version v verbose V very-verbose define restart norestart copy nocopy strict coffee gfn1"
    " gfn2 gfn0 gfnff gff mcgfnff iff ptb tblite spinpol cut esp stm cma tm enso json ceasefiles orca mopac pop molden"
    " dipole wbo lmo fod scc sp vip vea vipea vomega vfukui alpha grad hess md omd siman screen gmd mdopt nocellopt"
)
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_INTEGERS, "integer"), **dict.fromkeys(_NUMBERS, "number"), "oniom": "methods",
}  # fmt: skip
# Without its atoms --oniom took the next flag for them, and all memory of the machine (6.5.1).
_NEEDS = {**dict.fromkeys(listed("g gbsa alpb cosmo tmcosmo gfn input I namespace vparam modef"), 1), "oniom": 2}

FLAGS = Flags(
    "xtb",
    frozenset([*_ALONE.split(), *_TAKES]),
    _KINDS,
    {**dict.fromkeys(("opt", "o", "ohess", "bhess"), _LEVELS), "gfn": ("0", "1", "2", "ff")},
    _TAKES,
    # 6.5.1 does the first alone: `--opt --vip` prints no potential, `--opt --hess` no frequencies.
    listed("opt o hess ohess bhess md omd siman path modef vip vea vipea vomega vfukui"),
    _NEEDS,
)
