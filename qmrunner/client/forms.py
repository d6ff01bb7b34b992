"""From what a user passes to the body of a submission. Reads files; sends nothing.

A molecule is a SMILES, a path, the text of a structure file, an RDKit Mol, or ASE Atoms.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qmrunner.errors import UsageError

File = tuple[str, bytes]
# A SMILES, a path, the text of a file, an RDKit Mol or ASE Atoms: types of packages that may be missing.
Molecule = Any
# A path, a mapping, or a model of QCElemental.
Document = Any


def molecule(given: Molecule) -> tuple[dict[str, Any], list[File]]:
    """The fields and the files of a molecule."""
    if hasattr(given, "GetAtoms"):
        from qmrunner.chemistry.annotated import mol_block

        return {}, [("molecule.mol", mol_block(given).encode())]
    if hasattr(given, "get_chemical_symbols"):
        return {}, [("molecule.xyz", _xyz(given))]
    if isinstance(given, os.PathLike) or _is_text(given):
        return {}, [structure(given)]
    if not isinstance(given, str):
        raise UsageError(
            "bad_molecule", f"a {type(given).__name__} is not a molecule",
            remedy="give a SMILES, a path, the text of an XYZ or MOL file, an RDKit Mol, or ASE Atoms",
        )  # fmt: skip
    from qmrunner.chemistry.structures import is_structure_file

    return ({}, [file(given)]) if is_structure_file(given) else ({"smiles": given}, [])


def structure(given: Molecule) -> File:
    """The file of a structure: a path, ASE Atoms, an RDKit Mol, or text."""
    if hasattr(given, "get_chemical_symbols"):
        return "molecule.xyz", _xyz(given)
    if hasattr(given, "GetAtoms"):
        from qmrunner.chemistry.annotated import xyz_of

        return "molecule.xyz", xyz_of(given).encode()
    if _is_text(given):
        is_mol = "V2000" in given or "V3000" in given
        name = "molecule.sdf" if "$$$$" in given else "molecule.mol" if is_mol else "molecule.xyz"
        return name, given.encode()
    return file(given)


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
    except (OSError, ValueError) as problem:
        raise UsageError(
            "file_unreadable", f"{path} cannot be read", evidence=str(problem), remedy="check its permissions"
        ) from None


def body(kind: str, fields: Mapping[str, Any], files: Sequence[File]) -> dict[str, Any]:
    """The parts of a request: JSON without files, else multipart, which keeps every byte."""
    form = {"kind": kind, **fields}
    if not files:
        return {"json": form}
    job = ("job", (None, json.dumps(form).encode(), "application/json"))
    return {"files": [job, *(("file", (name, data, "application/octet-stream")) for name, data in files)]}


def lines(
    molecules: Iterable[Molecule | Mapping[str, Any]], names: Iterable[str] | None, kind: str,
    fields: Mapping[str, Any], group: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """One form for each molecule, with a key: the same molecule with the same options is one job of its group.

    An entry may be a mapping with `smiles` or `molecule` and its own options, as a row of a table. Copies of one
    molecule within one list are separate jobs.
    """
    rows = molecules.to_dict("records") if hasattr(molecules, "to_dict") else molecules
    given_names = None if names is None else [str(name) for name in names]
    found = [_line(row, kind, fields, group) for row in rows]
    if given_names is not None:
        if len(given_names) != len(found):
            raise UsageError(
                "names_differ", f"there are {len(given_names)} names for {len(found)} molecules",
                remedy="give one name for each molecule",
            )  # fmt: skip
        for line, name in zip(found, given_names, strict=True):
            line["name"] = name
    seen: dict[str, int] = {}
    for line in found:
        identity = json.dumps(line, sort_keys=True)
        seen[identity] = seen.get(identity, 0) + 1
        line["key"] = f"client:{hashlib.sha256(f'{seen[identity]} {identity}'.encode()).hexdigest()}"
    return found


def _line(row: Molecule | Mapping[str, Any], kind: str, fields: Mapping[str, Any], group: str) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if isinstance(row, Mapping):
        own = {str(key): value for key, value in row.items() if not _missing(value)}
        row = own.pop("molecule", None) or own.pop("smiles", "")
    found, files = molecule(row)
    inline = [{"name": name, "text": _text(name, data)} for name, data in files]
    return {"kind": kind, "group": group, **fields, **own, **found, **({"files": inline} if inline else {})}


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise UsageError(
            "unreadable_file",
            f"{name} is not UTF-8 text",
            evidence=str(problem),
            remedy="submit it as a separate job",
        ) from None


def _missing(value: Any) -> bool:
    """None, or the NaN of an empty cell."""
    return value is None or (isinstance(value, float) and value != value)


def _is_text(given: object) -> bool:
    return isinstance(given, str) and "\n" in given


def _xyz(atoms: Any) -> bytes:
    from qmrunner.chemistry.xyz import write_xyz

    return write_xyz(atoms.get_chemical_symbols(), atoms.get_positions().tolist()).encode()
