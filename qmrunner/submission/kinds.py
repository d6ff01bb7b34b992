"""From what a user typed to a checked `Submission`. Raises UsageError, and changes nothing anywhere.

The chemistry and engine packages are loaded only by the kinds of job that need them.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qmrunner.errors import UsageError
from qmrunner.model import labels, names
from qmrunner.model.jobs import Submission
from qmrunner.submission import conformers as submission_conformers
from qmrunner.submission import files as inputs
from qmrunner.submission import molecule
from qmrunner.submission.conformers import MAX_LOST_WEIGHT, TEMPERATURE_K
from qmrunner.submission.molecule import MAX_ATOMS, XTB_LAST_ELEMENT
from qmrunner.workflows.levels import find_level
from qmrunner.workflows.solvents import find_solvent

if TYPE_CHECKING:
    from qmrunner.chemistry.molecule import Molecule

_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "xtb": {"charge": ("--chrg", "-c", "--charge"), "unpaired": ("--uhf", "-u")},
    "crest": {"charge": ("--chrg", "-chrg"), "unpaired": ("--uhf", "-uhf")},
}
_CONTROLS = (".CHRG", ".UHF", "--input", "-I")


def nmr(
    source: str,
    *,
    solvent: str = "chloroform",
    level: str = "draft",
    conformers: str = "none",
    max_conformers: int | None = None,
    max_lost_weight: float = MAX_LOST_WEIGHT,
    max_atoms: int | None = None,
    crest_installed: bool = False,
    allow_topology_change: bool = False,
    charge: int | None = None,
    multiplicity: int | None = None,
    temperature_k: float = TEMPERATURE_K,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """An NMR prediction of a SMILES or of the molecule in an .xyz, .mol or .sdf file.

    `conformers` is ``none``, ``rdkit``, ``crest`` or ``auto`` (CREST where `crest_installed`, else RDKit); a file of
    several structures is an ensemble of its own. `allow_topology_change`: a structure that became another molecule is
    kept with a note instead of dropped. Raises UsageError with what is wrong with the molecule (see
    `chemistry.structures`, `reading`) or the options: `unknown_solvent`, `unknown_level`, and what `searching` raises.
    """
    medium, theory = find_solvent(solvent), find_level(level)
    options = submission_conformers.Options(
        conformers, max_conformers, max_lost_weight, temperature_k, crest_installed, allow_topology_change
    )
    submission_conformers.check(options)
    found = molecule.read(source)
    limit = max_atoms or MAX_ATOMS
    molecules = [molecule.settle_for_nmr(one, charge, multiplicity, theory, limit) for one in found.molecules]
    params, files = submission_conformers.plan(options, molecules, found)
    params |= {"solvent": medium.key, "level": theory.key}
    return Submission("nmr", params, files, name, priority, key)


def conformers(
    source: str,
    *,
    solvent: str = "chloroform",
    conformers: str = "auto",
    max_conformers: int | None = None,
    max_lost_weight: float = MAX_LOST_WEIGHT,
    max_atoms: int | None = None,
    crest_installed: bool = False,
    allow_topology_change: bool = False,
    charge: int | None = None,
    multiplicity: int | None = None,
    temperature_k: float = TEMPERATURE_K,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """A conformer ensemble, with the energies of xTB. Arguments and errors as those of `nmr`."""
    medium = find_solvent(solvent)
    options = submission_conformers.Options(
        conformers, max_conformers, max_lost_weight, temperature_k, crest_installed, allow_topology_change
    )
    submission_conformers.check(options)
    found = molecule.read(source)
    limit = max_atoms or 2 * MAX_ATOMS
    molecules = [molecule.settle_for_xtb(one, charge, multiplicity, limit) for one in found.molecules]
    submission_conformers.refuse_none(options, molecules)
    params, files = submission_conformers.plan(options, molecules, found)
    params |= {"solvent": medium.key}
    return Submission("conformers", params, files, name, priority, key)


def nwchem(
    deck: str,
    with_files: Sequence[str] = (),
    *,
    unconfined: bool = False,
    strict: bool = False,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """A user's own NWChem deck, and the files it names.

    Raises UsageError for unreadable files, a deck that cannot run, such as one without a task, and `deck_escapes` for
    one that would use files elsewhere or run commands. `unconfined` allows those: only for the owner of the machine.
    `strict` refuses all that is not known to be harmless: for inputs from the network that no kernel will confine.
    """
    from qmrunner.chemistry.structures import decode
    from qmrunner.engines import confinement
    from qmrunner.engines.nwchem import check_deck, findings

    own, files = inputs.collect(deck, with_files)
    files[own] = files[own].removeprefix(codecs.BOM_UTF8)  # NWChem would take it for a part of the first word
    asked = check_deck(decode(files[own], own), files.get)
    if not unconfined:
        confinement.refuse(findings(own, files, strict=strict))
    params: dict[str, Any] = {"deck": own, "files": list(files), **_said(unconfined)}
    if asked is not None:
        params["memory_mib_per_rank"] = asked.total_mib
    return Submission("nwchem", params, files, name, priority, key)


def xtb(
    structure: str,
    args: Sequence[str] = (),
    with_files: Sequence[str] = (),
    *,
    unconfined: bool = False,
    strict: bool = False,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """A user's own xTB run: structure file first, then `args` as they are. Raises UsageError for unreadable files, and
    `argument_escapes` or `deck_escapes` as `nwchem` does."""
    return _program("xtb", structure, args, with_files, unconfined, strict, name, priority, key)


def crest(
    structure: str,
    args: Sequence[str] = (),
    with_files: Sequence[str] = (),
    *,
    unconfined: bool = False,
    strict: bool = False,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """A user's own CREST run: structure file first, then `args` as they are. Raises UsageError as `xtb` does."""
    return _program("crest", structure, args, with_files, unconfined, strict, name, priority, key)


def told(
    submission: Submission,
    *,
    fresh: bool,
    allow_altering: bool,
    require: Sequence[str] = (),
    network: bool = False,
) -> Submission:
    """The submission with what any kind may be told: compute every step anew, let remedies alter the answer, run only
    where these labels are; and whether it came over the network. Raises UsageError `label_invalid`, `name_invalid`,
    `key_invalid`."""
    _check_names(submission)
    words = {"fresh": fresh, "allow_altering": allow_altering, "network": network}
    params = {**submission.params, **{word: True for word, said in words.items() if said}}
    try:
        requires = labels.check(require)
    except ValueError as problem:
        raise UsageError("label_invalid", f"labels: {problem}", remedy="name a label of QMRUNNER_LABELS") from None
    return replace(submission, params=params, requires=requires)


def _check_names(submission: Submission) -> None:
    try:
        names.check_name(submission.name)
    except ValueError as problem:
        raise UsageError(
            "name_invalid", f"the name of the job: {problem}", remedy="take a shorter, plain one"
        ) from None
    try:
        names.check_key(submission.key)
    except ValueError as problem:
        raise UsageError("key_invalid", f"the idempotency key: {problem}", remedy="a UUID is a good one") from None


def _program(
    kind: str,
    structure: str,
    args: Sequence[str],
    with_files: Sequence[str],
    unconfined: bool,
    strict: bool,
    name: str | None,
    priority: int,
    key: str | None,
) -> Submission:
    own, files = inputs.collect(structure, with_files)
    inputs.check_arguments(args)
    if not unconfined:
        inputs.confine_arguments(args)
        _confine(kind, args, files, strict)
    _check_flags(kind, args, known_only=not unconfined)
    params: dict[str, Any] = {"structure": own, "args": list(args), "files": list(files), **_said(unconfined)}
    frames = _frames(own, files[own])
    if frames:
        params["atoms"] = list(frames[0].symbols)
        files = files | _rewritten(own, files[own], frames, params)
    _check_electrons(kind, params.get("atoms"), own, args, files)
    return Submission(kind, params, files, name, priority, key)


def _rewritten(name: str, data: bytes, frames: Sequence[Molecule], params: dict[str, Any]) -> dict[str, bytes]:
    """What a program would read otherwise than we did, in the form that all read alike, and the file as it was. What
    was read in a way of its own is noted."""
    from qmrunner.chemistry.columns import without
    from qmrunner.chemistry.xyz import write_xyz

    notes = list(dict.fromkeys(note for one in frames for note in one.notes))
    if any(one.isotopes for one in frames):
        notes.append(f"{name}: isotopes are computed as the element itself, with its mass")
    if all(one.plain for one in frames) and not data.startswith(codecs.BOM_UTF8):
        return {}
    kept = f"original-{name}"
    if notes:
        params["notes"] = [*notes, f"{name} was written in plain form for the program; input/{kept} is as it was"]
    text = "".join(write_xyz(one.symbols, one.coordinates or (), without(one.title)) for one in frames)
    return {name: text.encode()} | ({} if kept in params["files"] else {kept: data})


def _check_flags(kind: str, args: Sequence[str], *, known_only: bool) -> None:
    from qmrunner.engines import flags
    from qmrunner.engines.crest import flags as crest
    from qmrunner.engines.xtb import flags as xtb

    flags.check({"xtb": xtb, "crest": crest}[kind].FLAGS, args, known_only=known_only)


def _confine(kind: str, args: Sequence[str], files: Mapping[str, bytes], strict: bool) -> None:
    from qmrunner.engines import confinement
    from qmrunner.engines.crest import confine as crest
    from qmrunner.engines.xtb import confine as xtb

    confinement.refuse({"xtb": xtb, "crest": crest}[kind].findings(args, files, strict=strict))


def _said(unconfined: bool) -> dict[str, Any]:
    """What the job remembers of being unconfined: nothing where it is not."""
    return {"unconfined": True} if unconfined else {}


def _check_electrons(
    kind: str, symbols: Sequence[str] | None, own: str, args: Sequence[str], files: Mapping[str, bytes]
) -> None:
    """Charge and spin that the arguments name, against the structure; not where a control file may say otherwise."""
    from qmrunner.engines import openmp
    from qmrunner.engines import structure_checks as structure

    if symbols is None or any(name in files or name in args for name in _CONTROLS):
        return
    charge, unpaired = (openmp.value_of(args, _OPTIONS[kind][what]) for what in ("charge", "unpaired"))
    structure.check_electrons(
        own, tuple(symbols), 0 if charge is None else openmp.integer(charge), openmp.integer(unpaired)
    )


def _frames(name: str, data: bytes) -> tuple[Molecule, ...]:
    """The structures of a file that we can read, the elements of the first checked; none for a format only the program
    knows."""
    from qmrunner.chemistry import elements, structures
    from qmrunner.chemistry.xyz import read_xyz

    if not name.lower().endswith(".xyz"):
        return ()
    frames = read_xyz(structures.decode(data, name), name)
    structures.check_elements(
        frames[0], elements.up_to(XTB_LAST_ELEMENT), "set of GFN2-xTB", "use a program that knows this element"
    )
    return frames
