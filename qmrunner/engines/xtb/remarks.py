"""What xTB assumed without a message, and whose values are those of a run with several structures or layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from qmrunner import untrusted
from qmrunner.model.jobs import Step

UHF = ("--uhf", "-u")
INPUT = ("--input", "-I")
DYNAMICS = frozenset({"--md", "--omd", "--metadyn"})
# Turbomole files may set the unpaired electrons themselves.
_SPIN = re.compile(r"^[^\S\n]*+\$(spin|eht\b.*\bunpaired *+=)", re.MULTILINE)
_LAYERS = {"gfn0": "GFN0-xTB", "gfn1": "GFN1-xTB", "gfn2": "GFN2-xTB", "gfnff": "GFN-FF"}
_DOUBLET = (
    "{electrons} valence electrons are an odd number: xtb computed a doublet, although its setup names no unpaired"
    " electron. If this is no radical, the charge (--chrg) is wrong or missing"
)
_BIASED = (
    "energy, free energy, enthalpy, charges and frequencies are those of the structure that xtb relaxed beside the one"
    " given (xtbopt.xyz); for another program's energy use the thermal corrections alone"
)
_BEGUN = "energy, gradient and charges are those of the structure with which the dynamics began"


def unasked(args: Sequence[str], step: Step, directory: Path, electrons: int | None) -> Iterator[str]:
    """Notes on a run of `args` in `directory` with so many valence `electrons`."""
    given = any(name in step.inputs or name in args for name in (".UHF", *UHF, *INPUT))
    odd = electrons is not None and electrons % 2 == 1 and not given
    if odd and not _states_spin(directory / str(step.params.get("structure", ""))):
        yield _DOUBLET.format(electrons=electrons)
    if "--bhess" in args:
        yield _BIASED
    if not DYNAMICS.isdisjoint(args):
        yield _BEGUN


def _states_spin(structure: Path) -> bool:
    try:
        return _SPIN.search(untrusted.read_text(structure)) is not None
    except (OSError, ValueError):
        return False


def of_layers(methods: str) -> str:
    """The name of an energy by `inner:outer` of --oniom."""
    inner, _, outer = methods.partition(":")
    return f"ONIOM({_LAYERS.get(inner, inner)}:{_LAYERS.get(outer, outer)})"
