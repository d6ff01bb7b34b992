"""From a list or table of molecules to the lines of `submit_many`. Sends nothing."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

from qmrunner.client import forms
from qmrunner.client.options import MoleculeOptions, NmrOptions, checked
from qmrunner.errors import UsageError

KINDS = {"nmr": NmrOptions, "conformers": MoleculeOptions}
_LONGEST_COLUMN = 40
_MOLECULE = ("molecule", "smiles")
Line = dict[str, Any] | UsageError


def lines(
    molecules: Iterable[forms.Molecule | Mapping[str, Any]], names: Iterable[str] | None, kind: str,
    fields: Mapping[str, Any], group: str,
) -> list[Line]:  # fmt: skip
    """One form for each molecule, or the error of an entry that is none.

    An entry may be a mapping with `smiles` or `molecule` and its own options, as a row of a table. A form has a key:
    the same molecule with the same options is one job of its group. Copies of one molecule within one list are separate
    jobs. Raises UsageError `not_a_list`, `unknown_kind`, `unknown_option`, `no_molecules`, `names_differ`.
    """
    if kind not in KINDS:
        raise UsageError("unknown_kind", f"there is no kind {kind!r}"[:80], remedy=f"known are {', '.join(KINDS)}")
    rows = _rows(molecules)
    _check_columns(rows, KINDS[kind])
    found: list[Line] = []
    for row in rows:
        try:
            found.append(_line(row, kind, fields, group))
        except UsageError as problem:
            found.append(problem)
    if names is not None:
        _name(found, [str(name) for name in ([names] if isinstance(names, str) else names)])
    good = [line for line in found if isinstance(line, dict)]
    _warn_of_equal_names(good)
    seen: Counter[str] = Counter()
    for line in good:
        identity = json.dumps(line, sort_keys=True)
        seen[identity] += 1
        line["key"] = f"client:{hashlib.sha256(f'{seen[identity]} {identity}'.encode()).hexdigest()}"
    return found


def _rows(molecules: Any) -> list[Any]:
    """The entries; names of columns in lower case, and empty cells left out."""
    if hasattr(molecules, "to_dict") and hasattr(molecules, "columns"):
        molecules = molecules.to_dict("records")
    alone = isinstance(molecules, str | bytes | os.PathLike | Mapping) or any(
        hasattr(molecules, name) for name in ("GetAtoms", "get_chemical_symbols")
    )
    if alone or not isinstance(molecules, Iterable):
        raise UsageError(
            "not_a_list", f"submit_many takes a list or a table, not one {type(molecules).__name__}",
            remedy="for one molecule use submit_nmr or submit_search; read a file first: pandas.read_csv(…)",
        )  # fmt: skip
    return [
        {str(key).strip().lower(): value for key, value in row.items() if not _missing(value)}
        if isinstance(row, Mapping)
        else row
        for row in molecules
    ]


def _check_columns(rows: list[Any], options: type) -> None:
    """Refuse tables without a molecule, and names that seem to be misspelled options; warn of other columns."""
    columns = dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row)
    known = get_type_hints(options)
    others = [name for name in columns if name not in known and name not in _MOLECULE]
    if columns and not any(name in columns for name in _MOLECULE):
        raise UsageError(
            "no_molecules", "the table has no column smiles", evidence=f"columns: {', '.join(columns)}"[:200],
            remedy="rename the column of the molecules: table.rename(columns={'…': 'smiles'})",
        )  # fmt: skip
    for name in others:
        if near := _misspelled(name, known):
            raise UsageError(
                "unknown_option", f"there is no option {name}, as a column is named",
                remedy=f"rename the column to {near}, or leave it out",
            )  # fmt: skip
    if others:
        warnings.warn(f"columns that are not used: {', '.join(others)}", stacklevel=2)


def _misspelled(name: str, known: Iterable[str]) -> str | None:
    """The option that the name of a column seems to be: `chrage`, `mult`. Others are columns of the user's own."""
    longer = [option for option in known if len(name) > 3 and option.startswith(name)]
    near = longer or difflib.get_close_matches(name[:_LONGEST_COLUMN], list(known), 1, 0.8)
    return near[0] if near else None


def _line(row: Any, kind: str, fields: Mapping[str, Any], group: str) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if isinstance(row, dict):
        own = {name: value for name, value in row.items() if name in get_type_hints(KINDS[kind])}
        row = row.get("molecule", row.get("smiles", ""))
    elif _missing(row):
        row = ""
    found, files = forms.molecule(row)
    inline = [{"name": name, "text": _text(name, data)} for name, data in files]
    more = {"files": inline} if inline else {}
    return {"kind": kind, "group": group, **fields, **checked(own, KINDS[kind]), **found, **more}


def _name(found: list[Line], names: list[str]) -> None:
    if len(names) != len(found):
        raise UsageError(
            "names_differ", f"there are {len(names)} names for {len(found)} molecules",
            remedy="give one name for each molecule",
        )  # fmt: skip
    for line, name in zip(found, names, strict=True):
        if isinstance(line, dict):
            line["name"] = name


def _warn_of_equal_names(found: list[dict[str, Any]]) -> None:
    """`jobs.shifts()` joined by name mixes different molecules of one name."""
    molecules: dict[str, set[str]] = {}
    for line in found:
        if line.get("name"):
            molecules.setdefault(line["name"], set()).add(json.dumps([line.get("smiles"), line.get("files")]))
    equal = [name for name, different in molecules.items() if len(different) > 1]
    if equal:
        text = ", ".join(equal[:5]) + (", …" if len(equal) > 5 else "")
        warnings.warn(f"different molecules have one name: {text}; join results by job, not by name", stacklevel=2)


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise UsageError(
            "unreadable_file", f"{name} is not UTF-8 text", evidence=str(problem), remedy="submit it as a separate job"
        ) from None


def _missing(value: Any) -> bool:
    """None, or the NaN or NA of an empty cell."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value
