"""A structure file beside the program that is to read it: what the program leaves out or reads in another way.

Refused, or written in plain form, or noted in the job's params.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qmrunner.errors import NotReadyError, UsageError

if TYPE_CHECKING:
    from qmrunner.chemistry.molecule import Molecule

OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "xtb": {"charge": ("--chrg", "-c", "--charge"), "unpaired": ("--uhf", "-u")},
    "crest": {"charge": ("--chrg", "-chrg"), "unpaired": ("--uhf", "-uhf")},
}

LINES_NOTE = (
    "{name}: its lines ended in carriage returns alone, which the program does not read; input/original-{name} is the"
    " original"
)


def note_comment(kind: str, name: str, comment: str, args: Sequence[str], params: dict[str, Any]) -> None:
    """Notes for what the comment line of an XYZ file gives and the program does not read."""
    from qmrunner.chemistry import columns
    from qmrunner.engines import openmp

    notes = []
    charge, multiplicity = columns.electrons(comment, name)
    given = {what: openmp.value_of(args, flags) is not None for what, flags in OPTIONS[kind].items()}
    if charge and not given["charge"]:
        notes.append(f"{name}: {kind} does not read the charge of {charge:+d} in its comment line: add --chrg {charge}")
    if multiplicity is not None and multiplicity > 1 and not given["unpaired"]:
        unpaired = multiplicity - 1
        notes.append(f"{name}: {kind} does not read the multiplicity in its comment line: add --uhf {unpaired}")
    if columns.is_periodic(comment):
        notes.append(f"{name}: {kind} does not read the lattice in its comment line, and computes a molecule")
    if notes:
        params["notes"] = [*params.get("notes", ()), *notes]


def check_pdb(kind: str, name: str, data: bytes, params: dict[str, Any]) -> None:
    """Refuse alternative locations, which the programs read as further atoms."""
    from qmrunner.chemistry import foreign_text, structures

    text = structures.decode(data, name)
    foreign_text.refuse_alternatives(text, name)
    models = sum(line.startswith("MODEL ") for line in text.splitlines())
    if models > 1:
        params["notes"] = [f"{name} has {models} models, and {kind} computes the first alone"]


def check_formal_charge(name: str, data: bytes, args: Sequence[str]) -> None:
    """Raise UsageError `charge_mismatch` for a charge of 0 that xTB would ignore."""
    from qmrunner.engines import openmp
    from qmrunner.engines.xtb import molfile

    own = molfile.charge(data) if name.lower().endswith((".mol", ".sdf")) else 0
    if own and openmp.integer(openmp.value_of(args, OPTIONS["xtb"]["charge"])) == 0:
        raise UsageError(
            "charge_mismatch",
            f"{name} has formal charges of {own:+d} in sum, and xtb would ignore a charge of 0 on the command line",
            evidence=" ".join(args),
            remedy="leave the charge out, or correct the formal charges of the file",
        )


def in_lines(name: str, data: bytes) -> dict[str, bytes]:
    """A file whose lines end as on an old Macintosh with line feeds, and the original; empty for any other file."""
    if b"\n" in data or b"\r" not in data:
        return {}
    return {name: data.replace(b"\r", b"\n"), f"original-{name}": data}


def for_xtb(name: str, data: bytes, frames: int, params: dict[str, Any]) -> dict[str, bytes]:
    """A MOL or SDF file with the fields that xTB needs, beside the original; what xTB leaves out is noted in
    `params`."""
    from qmrunner.engines.xtb import molfile

    notes, files = list(params.get("notes", ())), {}
    if name.lower().endswith((".mol", ".sdf")):
        frames = molfile.molecules(data)
        whole = molfile.padded(data)
        if whole is not None:
            files = {name: whole, f"original-{name}": data}
            notes.append(
                f"{name}: rows of bonds were completed with zeros for xtb; input/original-{name} is the original"
            )
        notes += _hydrogens_left_out(name, data)
    if frames > 1:
        notes.append(f"{name} has {frames} structures, and xtb computes the first alone")
    if notes:
        params["notes"] = notes
    return files


def _hydrogens_left_out(name: str, data: bytes) -> list[str]:
    """A note, if a MOL or SDF file leaves hydrogens to its reader; none without RDKit or for a file it cannot read."""
    from qmrunner.chemistry import graphs, structures

    try:
        first = structures.decode(data, name).split("$$$$")[0]
        (mol,) = graphs.mols_from_molfile(first, name)
    except (UsageError, NotReadyError):
        return []
    written = _atoms_written(first)
    added = mol.GetNumAtoms() - written
    if written == 0 or added <= 0:
        return []
    hydrogens = f"{added} hydrogen{'s' if added > 1 else ''}"
    return [f"{name} leaves out {hydrogens}, and xtb adds none: it computes {written} atoms. Add them in an editor"]


def rewritten(name: str, data: bytes, frames: Sequence[Molecule], params: dict[str, Any]) -> dict[str, bytes]:
    """The structure rewritten in plain XYZ where the program could read it differently than qmrunner did, and the
    original file. Every special reading is noted in `params`."""
    from qmrunner.chemistry.columns import without
    from qmrunner.chemistry.xyz import write_xyz

    notes = list(dict.fromkeys(note for frame in frames for note in frame.notes))
    if any(frame.isotopes for frame in frames):
        notes.append(f"{name}: isotopes are computed as the plain element with its natural mass")
    if all(frame.plain for frame in frames) and not data.startswith(codecs.BOM_UTF8):
        return {}
    kept = f"original-{name}"
    if notes:
        params["notes"] = [*notes, f"{name} was written in plain form for the program; input/{kept} is the original"]
    text = "".join(write_xyz(frame.symbols, frame.coordinates or (), without(frame.title)) for frame in frames)
    return {name: text.encode()} | ({} if kept in params["files"] else {kept: data})


_V2000_ATOMS = re.compile(r"(?:.*\n){3}([ \d]{3})[ \d]{3}.*V2000")
_V3000_ATOMS = re.compile(r"^M  V30 COUNTS (\d+)", re.MULTILINE)


def _atoms_written(block: str) -> int:
    """The number of atoms that a MOL block announces; 0 where it is not clear."""
    hit = _V2000_ATOMS.match(block.replace("\r\n", "\n")) or _V3000_ATOMS.search(block)
    return int(hit[1]) if hit and hit[1].strip().isdigit() else 0
