"""Writes the NWChem deck of a QCSchema input. The atoms keep their place, so that derivatives belong to the input.

Keywords are those of QCEngine: ``block__option`` or ``block__option__suboption``, for example ``dft__grid: "fine"``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qmrunner.engines.qcschema_input import Request
from qmrunner.errors import UsageError, nearest

DECK = "qcschema.nw"
# Name in QCSchema → line `xc`. The other functionals are words of NWChem.
_LINES = {
    "pbe": "xpbe96 cpbe96",
    "blyp": "becke88 lyp",
    "bp86": "becke88 perdew86",
    "b3lyp5": "hfexch 0.2 slater 0.8 becke88 nonlocal 0.72 vwn_5 0.190 lyp 0.81",
    "tpss": "xtpss03 ctpss03",
    "tpssh": "xctpssh",
    "svwn": "slater vwn_5",
    "lda": "slater vwn_5",
    "bhandhlyp": "hfexch 0.5 becke88 0.5 lyp",
}
_WORDS = (
    "b3lyp", "pbe0", "acm", "beckehandh", "becke97", "becke97-1", "becke97-2", "becke97-3", "becke97-d", "becke98",
    "hcth", "hcth120", "hcth147", "hcth407", "mpw1k", "bop", "pbeop", "b1b95", "bb1k", "mpw1b95", "mpwb1k", "pw6b95",
    "pwb6k", "m05", "m05-2x", "vs98", "m06", "m06-hf", "m06-l", "m06-2x",
)  # fmt: skip
# Method → theory of the task line. Of the coupled-cluster methods NWChem has only numerical derivatives.
_THEORIES = {
    "hf": "scf",
    "scf": "scf",
    "mp2": "mp2",
    "ccsd": "ccsd",
    "ccsd(t)": "ccsd(t)",
    "ccsd+t(ccsd)": "ccsd+t(ccsd)",
}
_ENERGY_ONLY = ("ccsd", "ccsd(t)", "ccsd+t(ccsd)")
_BLOCKS = ("scf", "dft", "mp2", "ccsd", "cosmo", "driver", "freq", "hessian", "basis", "set", "relativistic")
# They come from the molecule and the model.
# `end` would close the block. NWChem knows its words by their beginnings, too: `mul` is `mult`.
_OWN = (
    "end", "nopen", "mult", "xc", "singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet", "octet",
)  # fmt: skip
_OWN_SET = re.compile(
    r"(charge|title|start|memory|geometry|ao|basis|task|qcschema)\b.*|(dft|scf):(xc_spec|.fac|mult|ipol|noc|n.*|scftype)"
)
_WORD = re.compile(r"[a-z0-9_+*.:()/-]+")
_PLAIN = re.compile(r"[A-Za-z0-9_.+\-*(),:/ ]{1,200}")
_CONVERGENCE = {"GAU": None, "GAU_TIGHT": "tight", "GAU_LOOSE": "loose"}


def write(request: Request) -> tuple[str, list[str]]:
    """The deck, and notes on choices that the input leaves open. Raises UsageError `qcschema_unsupported`."""
    theory, functional = _theory(request)
    if request.basis is None:
        raise _unsupported("NWChem needs a basis set", "model.basis: null", "name one, for example 6-31g*")
    if not _PLAIN.fullmatch(request.basis):
        raise _unsupported("this is no name of a basis set", repr(request.basis)[:80], "name one, as 6-31g*")
    blocks, lines = _grouped(request.keywords)
    words, steps = _optimiser(request.optimiser)
    if functional is not None:
        blocks.setdefault("dft", []).insert(0, f"xc {functional}")
        blocks["dft"].insert(1, f"mult {request.multiplicity}")
    elif request.multiplicity > 1:
        blocks.setdefault("scf", []).insert(0, f"nopen {request.multiplicity - 1}")
    if steps:
        blocks.setdefault("driver", []).extend(steps)
    kind = [line for line in blocks.pop("basis", []) if line in ("spherical", "cartesian")]
    parts = [
        "echo", "start qcschema", 'title "QCSchema input"', f"charge {request.charge}",
        f"geometry units bohr nocenter noautosym{words}", *_atoms(request), "end",
        f"basis {kind[0] if kind else 'cartesian'}", f" * library {_quoted(request.basis)}", "end",
    ]  # fmt: skip
    for name, inside in blocks.items():
        parts += [name, *(f" {line}" for line in inside), "end"]
    operation = "optimize" if request.optimisation else request.driver
    parts += [*lines, f"task {theory} {operation}"]
    if request.optimisation:
        parts.append(f"task {theory} gradient")
    notes = [] if kind else ["basis functions are Cartesian, NWChem's default; `basis__spherical` makes them spherical"]
    return "\n".join(parts) + "\n", notes


def _theory(request: Request) -> tuple[str, str | None]:
    """The theory of the task line, and the functional of a DFT calculation."""
    method = " ".join(request.method.lower().split())
    if method in _WORDS or method in _LINES:
        return "dft", _LINES.get(method, method)
    if method not in _THEORIES:
        known = [*_THEORIES, *_LINES, *_WORDS]
        near = nearest(method, known)
        hint = f"did you mean {near}? " if near else ""
        raise _unsupported(
            "NWChem has no such method here",
            f"model.method: {request.method!r}"[:80],
            f"{hint}known: {', '.join(known)}",
        )
    if method in _ENERGY_ONLY and (request.driver != "energy" or request.optimisation):
        raise _unsupported(
            f"NWChem has no analytical {request.driver} of {method}", f"driver: {request.driver}", "ask for the energy"
        )
    return _THEORIES[method], None


def _atoms(request: Request) -> list[str]:
    flat = request.coordinates_bohr
    rows = zip(request.symbols, flat[::3], flat[1::3], flat[2::3], strict=True)
    return [f" {symbol:<3}{x:22.14f}{y:22.14f}{z:22.14f}" for symbol, x, y, z in rows]


def _quoted(basis: str) -> str:
    return f'"{basis}"' if " " in basis else basis


def _grouped(keywords: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[str]]:
    """The lines of each block, and `set` lines."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    nested: dict[tuple[str, str], str] = {}
    for name, value in keywords.items():
        block, *path = str(name).lower().split("__")
        own = block in ("charge", "memory", "start", "title", "geometry") or (
            _OWN_SET.fullmatch(":".join(path)) if block == "set" else any(map(_begins_own, path[:1]))
        )
        if own:
            raise _unsupported("this keyword follows from molecule and model", str(name)[:80], "leave it out")
        if (
            block not in _BLOCKS
            or not 1 <= len(path) <= 2
            or not all(map(_WORD.fullmatch, path))
            or (block == "basis" and path[0] not in _BASIS)
        ):
            raise _unsupported(
                "unknown keyword for NWChem", str(name)[:80], f"write block__option; blocks are {', '.join(_BLOCKS)}"
            )
        if value is False:
            continue
        text = _text(name, value)
        if block == "set":
            lines.append(f"set {':'.join(path)} {text}")
        elif len(path) == 2:
            key = (block, path[0])
            nested[key] = f"{nested.get(key, path[0])} {path[1]} {text}".rstrip()
        else:
            blocks.setdefault(block, []).append(f"{path[0]} {text}".rstrip())
    for (block, _), line in nested.items():
        blocks.setdefault(block, []).append(line)
    for line in [*lines, *(line for inside in blocks.values() for line in inside)]:
        if not _PLAIN.fullmatch(line):
            raise _unsupported("a keyword cannot be written into a deck", line[:80], "use plain words and numbers")
    return blocks, lines


def _begins_own(word: str) -> bool:
    return any(own.startswith(word) for own in _OWN)


_BASIS = ("spherical", "cartesian")


def _text(name: str, value: Any) -> str:
    if value is True:
        return ""
    if isinstance(value, list) and all(
        isinstance(part, str | int | float) and not isinstance(part, bool) for part in value
    ):
        return " ".join(map(str, value))
    if isinstance(value, str | int | float):
        return str(value)
    raise _unsupported(
        "the value of a keyword is no word, number or list", f"{name}: {value!r}"[:80], "write it plainly"
    )


def _optimiser(keywords: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Words of the geometry line and lines of the driver block."""
    words, lines = "", []
    for name, value in keywords.items():
        if name == "program":
            continue
        if name == "maxiter" and type(value) is int and 0 < value < 10_000:
            lines.append(f"maxiter {value}")
        elif name == "coordsys" and value in ("cart", "internal", "autoz"):
            words = " noautoz" if value == "cart" else ""
        elif name == "convergence_set" and str(value).upper() in _CONVERGENCE:
            word = _CONVERGENCE[str(value).upper()]
            lines += [word] if word else []
        else:
            raise _unsupported(
                "unknown keyword of the optimisation", f"{name}: {value!r}"[:80],
                f"known: program, maxiter, coordsys (cart, internal), convergence_set ({', '.join(_CONVERGENCE)})",
            )  # fmt: skip
    return words, lines


def _unsupported(what: str, evidence: str, remedy: str) -> UsageError:
    return UsageError("qcschema_unsupported", what, evidence=evidence, remedy=remedy)
