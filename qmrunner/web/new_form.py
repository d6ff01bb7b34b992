"""The form of a new job to the JSON that the API takes, and an earlier job back to the form. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.errors import UsageError
from qmrunner.submission.request import MAX_LOST_WEIGHT

KINDS = ("nmr", "conformers", "nwchem", "xtb", "crest")
MOLECULES = ("nmr", "conformers")
_NUMBERS: dict[str, type[int] | type[float]] = {
    "priority": int, "charge": int, "multiplicity": int, "max_conformers": int, "temperature_k": float,
    "max_lost_weight": float, "max_atoms": int,
}  # fmt: skip
_PASTED = {"nwchem": "input.nw", "xtb": "input.xyz", "crest": "input.xyz"}
_LONGEST_FLAGS = 20_000
_BOXES = ("fresh", "allow_altering", "allow_topology_change")
_DEFAULTS = {"multiplicity": 1, "max_lost_weight": MAX_LOST_WEIGHT}
_LONGEST_NAME = 200
_COUNTS_LINE = re.compile(r"^[ \t]*\d++[ \t]++\d.*V[23]000[ \t]*$", re.MULTILINE)
_XYZ = re.compile(r"^\s*\d+[ \t]*\n[^\n]*\n[ \t]*[A-Za-z]{1,3}[ \t]+[-+.\d]")


def job_of(kind: str, words: Mapping[str, str], files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The JSON of `POST /v1/jobs`. `words` are the texts of the form, `files` names and contents, the input first.

    Raises UsageError `bad_field` with the field as evidence.
    """
    if kind not in KINDS:
        raise UsageError("bad_field", f"there is no kind of job {kind[:40]!r}", remedy=f"known are {', '.join(KINDS)}")
    job: dict[str, Any] = {"kind": kind}
    for name in ("name", "group", *(("solvent", "conformers") if kind in MOLECULES else ())):
        if words.get(name, "").strip():
            job[name] = words[name].strip()
    if kind == "nmr" and words.get("level"):
        job["level"] = words["level"]
    for name in ("priority", *(tuple(_NUMBERS)[1:] if kind in MOLECULES else ())):
        if words.get(name, "").strip():
            job[name] = _number(name, words[name].strip())
    for name in _BOXES if kind in MOLECULES else _BOXES[:2]:
        if words.get(name):
            job[name] = True
    if words.get("require", "").strip():
        job["require"] = words["require"].replace(",", " ").split()
    if kind in ("xtb", "crest"):
        job["args"] = _flags(words.get("args", ""))
    given = [{"name": name, "text": text} for name, text in files]
    pasted = words.get("structure", "").replace("\r\n", "\n")
    if pasted.strip() and kind in MOLECULES and not given:
        name = _file_name(pasted)
        if name is None:
            job["smiles"] = pasted.strip()
            job |= _named(job)
        else:
            given = [{"name": name, "text": pasted}]
    elif pasted.strip() and kind in _PASTED:
        given = [{"name": words.get("deck_name") or _PASTED[kind], "text": pasted}, *given]
    if given:
        job["files"] = given
    return job


def _named(job: Mapping[str, Any]) -> dict[str, str]:
    """What follows a SMILES on its line is the name of the molecule, as in lists of SMILES."""
    _, *rest = job["smiles"].split(maxsplit=1)
    is_name = rest and "\n" not in job["smiles"] and not rest[0].startswith("|")  # that begins a CXSMILES extension
    return {"name": rest[0][:_LONGEST_NAME]} if is_name and "name" not in job else {}


def words_of(job: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, str]:
    """The texts of the form for a job like this one. `job` has name, group, priority and the labels it requires."""
    found = {name: job.get(name) or "" for name in ("name", "group")}
    found |= {"require": " ".join(job.get("requires") or ()), "priority": str(job.get("priority") or "")}
    found |= {name: "yes" for name in _BOXES if params.get(name)}
    found |= {name: str(params[name]) for name, default in _DEFAULTS.items() if params.get(name, default) != default}
    names = {"conformers": "conformers_asked", "max_conformers": "max_conformers_asked"}
    for name in ("solvent", "level", "conformers", "max_conformers", "temperature_k"):
        value = params.get(names.get(name, name))
        if value is not None:
            found[name] = str(value)
    smiles = (params.get("input") or {}).get("smiles")
    if smiles:
        found["structure"] = smiles
    elif params.get("charge"):
        found["charge"] = str(params["charge"])  # of a file; a SMILES has its own
    if params.get("args"):
        found["args"] = shlex.join(params["args"])
    return found


def _file_name(text: str) -> str | None:
    """The file name of a pasted structure; None for a SMILES."""
    if _COUNTS_LINE.search(text) or "M  END" in text:
        return "pasted.sdf" if "$$$$" in text else "pasted.mol"
    return "pasted.xyz" if _XYZ.match(text) else None


def _number(name: str, text: str) -> int | float:
    try:
        return _NUMBERS[name](text)
    except ValueError:
        raise UsageError(
            "bad_field", f"{name.replace('_', ' ')} is not a number", evidence=text[:40], remedy="write it in digits"
        ) from None


def _flags(text: str) -> list[str]:
    if len(text) > _LONGEST_FLAGS:
        raise UsageError(
            "bad_field", f"the flags have more than {_LONGEST_FLAGS} characters", remedy="put them into an input file"
        )
    try:
        return shlex.split(text)
    except ValueError as problem:
        raise UsageError(
            "bad_field", "the flags cannot be read", evidence=f"{text[:80]}: {problem}", remedy="close every quote"
        ) from None
