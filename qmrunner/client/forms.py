"""From what a user passes to the body of a submission. Reads files; sends nothing.

A molecule is a SMILES, a path, the text of a structure file, an RDKit Mol, or ASE Atoms.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qmrunner.client import objects
from qmrunner.errors import UsageError

File = tuple[str, bytes]
# A SMILES, a path, the text of a file, an RDKit Mol or ASE Atoms: types of packages that may be missing.
Molecule = Any
# A path, a mapping, or a model of QCElemental.
Document = Any


def molecule(given: Molecule) -> tuple[dict[str, Any], list[File]]:
    """The fields and the files of a molecule."""
    if objects.is_mol(given):
        from qmrunner.chemistry.annotated import mol_blocks

        blocks = mol_blocks(given)
        if len(blocks) == 1:
            return {}, [("molecule.mol", blocks[0].encode())]
        return {}, [("molecule.sdf", "".join(f"{block}$$$$\n" for block in blocks).encode())]
    if objects.is_atoms(given):
        return {}, [("molecule.extxyz", objects.xyz_of_atoms(given).encode())]
    if isinstance(given, os.PathLike) or _is_text(given):
        return {}, [structure(given)]
    if not isinstance(given, str):
        raise UsageError(
            "bad_molecule", f"a {type(given).__name__} is not a molecule",
            remedy="give a SMILES, a path, the text of an XYZ or MOL file, an RDKit Mol, or ASE Atoms",
        )  # fmt: skip
    from qmrunner.chemistry.structures import is_structure_file

    line = given.strip()
    return ({}, [file(line)]) if is_structure_file(line) else ({"smiles": line}, [])


def structure(given: Molecule) -> File:
    """The file of a structure: a path, ASE Atoms, the first conformer of an RDKit Mol, or text."""
    if objects.is_atoms(given) or objects.is_mol(given):
        return "molecule.xyz", objects.plain_xyz(given).encode()
    if _is_text(given):
        return f"molecule{_ending(given)}", given.encode()
    try:
        return file(given)
    except UsageError as problem:
        if problem.code == "file_not_found":
            problem.remedy = "check the path; a SMILES has no coordinates: `submit_search` finds some"
        raise


def arguments(given: Molecule, args: Sequence[str]) -> list[str]:
    """The flags of a run of xTB or CREST: `args`, and those for the charge and spin of an RDKit Mol or ASE Atoms."""
    words = [str(word) for word in args]
    return [*words, *objects.flags(given, words)] if objects.is_atoms(given) or objects.is_mol(given) else words


# The first pattern found decides the format of a text, which has no name; else it is XYZ.
_ENDINGS = (
    (".sdf", re.compile(r"^\$\$\$\$", re.MULTILINE)),
    (".mol", re.compile(r"\A.*\n.*\n.*\n.*V[23]000")),
    (".pdb", re.compile(r"^(?:ATOM  |HETATM).{24}", re.MULTILINE)),
    (".cml", re.compile(r"\A\s*<(?:[\s\S]*<)?(?:\w+:)?molecule\b")),
    (".coord", re.compile(r"^\$coord\b", re.MULTILINE)),
    (".json", re.compile(r"\A\s*\{")),
    (".inchi", re.compile(r"\A\s*InChI=")),
    (".gjf", re.compile(r"\A\s*(?:%.*\n\s*)*#")),
    (".extxyz", re.compile(r"\A\s*\d+\s*\n.*\bProperties=")),
)


def _ending(text: str) -> str:
    """The ending of the file that has this text."""
    return next((ending for ending, pattern in _ENDINGS if pattern.search(text)), ".xyz")


def deck(given: str | os.PathLike[str]) -> File:
    """The file of an NWChem input: a path, or its text."""
    return ("input.nw", given.encode()) if isinstance(given, str) and _is_text(given) else file(given)


def qcschema(given: Any) -> File:
    """The file of a QCSchema input: a path, a mapping, or a model of QCElemental."""
    if isinstance(given, str | os.PathLike):
        return file(given)
    if hasattr(given, "serialize"):
        return "input.json", str(given.serialize("json")).encode()
    try:
        return "input.json", json.dumps(given, default=_plain).encode()
    except (TypeError, ValueError) as problem:
        raise UsageError(
            "qcschema_invalid", f"a {type(given).__name__} is not a QCSchema input", evidence=str(problem),
            remedy="give a path, a dict of plain values, or an AtomicInput or OptimizationInput of QCElemental",
        ) from None  # fmt: skip


def _plain(value: Any) -> Any:
    """An array as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def file(path: str | os.PathLike[str]) -> File:
    """A file that is read now. Raises UsageError `file_not_found`, `file_unreadable`."""
    try:
        return Path(path).name, Path(path).expanduser().read_bytes()
    except FileNotFoundError:
        raise UsageError("file_not_found", f"there is no file {path}", remedy="check the path") from None
    except IsADirectoryError:
        raise UsageError("file_unreadable", f"{path} is a folder", remedy="give the path of a file") from None
    except (OSError, ValueError) as problem:
        raise UsageError(
            "file_unreadable", f"{path} cannot be read", evidence=str(problem), remedy="check its permissions"
        ) from None


def files(paths: Iterable[str | os.PathLike[str]]) -> list[File]:
    """Files that are read now: of one path, or of several."""
    return [file(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


def body(kind: str, fields: Mapping[str, Any], files: Sequence[File]) -> dict[str, Any]:
    """The parts of a request: JSON without files, else multipart, which keeps every byte."""
    form = {"kind": kind, **fields}
    if not files:
        return {"json": form}
    job = ("job", (None, json.dumps(form).encode(), "application/json"))
    return {"files": [job, *(("file", (name, data, "application/octet-stream")) for name, data in files)]}


def _is_text(given: object) -> bool:
    """Whether this is the text of a file; a single line with its end is a SMILES or a path."""
    return isinstance(given, str) and ("\n" in given.strip() or ("\n" in given and "InChI=" in given))
