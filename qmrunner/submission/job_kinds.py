"""Build a checked `Submission` of each kind of job from user input. Raises UsageError and stores nothing.

The chemistry and engine packages are imported only by the kinds of job that need them.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qmrunner.errors import UsageError
from qmrunner.model import labels, names
from qmrunner.model.jobs import Submission
from qmrunner.submission import conformers as ensembles
from qmrunner.submission import files as inputs
from qmrunner.submission import molecule as molecules
from qmrunner.submission import structure_files
from qmrunner.submission.molecule import MAX_ATOMS, XTB_LAST_ELEMENT
from qmrunner.submission.request import ConformerSearch, JobOptions, MoleculeRequest
from qmrunner.workflows.levels import find_level
from qmrunner.workflows.solvents import find_solvent

if TYPE_CHECKING:
    from qmrunner.chemistry.molecule import Molecule

_ONE, _AUTO = ConformerSearch("none"), ConformerSearch("auto")
_CONTROLS = (".CHRG", ".UHF", "--input", "-I")


def nmr(molecule: MoleculeRequest, search: ConformerSearch = _ONE, *, level: str = "draft") -> Submission:
    """An NMR prediction of the molecule.

    Raises UsageError with what is wrong with the molecule (see `chemistry.structures`, `submission.molecule`) or the
    options: `unknown_solvent`, `unknown_level`, and what `submission.conformers` raises.
    """
    medium, theory = find_solvent(molecule.solvent), find_level(level)
    ensembles.check(search)
    source = molecules.read(molecule.source)
    limit = molecule.max_atoms or MAX_ATOMS
    charge, multiplicity = source.electrons(molecule.charge, molecule.multiplicity)
    structures = [
        molecules.settle_for_nmr(structure, charge, multiplicity, theory, limit) for structure in source.molecules
    ]
    params, files = ensembles.plan(search, structures, source)
    return Submission("nmr", params | {"solvent": medium.key, "level": theory.key}, files)


def conformers(molecule: MoleculeRequest, search: ConformerSearch = _AUTO) -> Submission:
    """A conformer ensemble with the energies of xTB. Errors as those of `nmr`."""
    medium = find_solvent(molecule.solvent)
    ensembles.check(search)
    source = molecules.read(molecule.source)
    limit = molecule.max_atoms or 2 * MAX_ATOMS
    charge, multiplicity = source.electrons(molecule.charge, molecule.multiplicity)
    structures = [molecules.settle_for_xtb(structure, charge, multiplicity, limit) for structure in source.molecules]
    ensembles.refuse_none(search, structures)
    params, files = ensembles.plan(search, structures, source)
    return Submission("conformers", params | {"solvent": medium.key}, files)


def nwchem(
    deck: str,
    with_files: Sequence[str] = (),
    *,
    unconfined: bool = False,
    strict: bool = False,
) -> Submission:
    """A user's own NWChem deck and the files it names.

    Raises UsageError for unreadable files, for a deck that cannot run (for example without a task), and `deck_escapes`
    for a deck that would use files outside the job's folder or run commands. `unconfined` allows both and is only for
    the owner of the machine. `strict` refuses everything that is not known to be harmless: for inputs from the network
    where the kernel cannot confine the engine.
    """
    from qmrunner.chemistry.structures import decode
    from qmrunner.engines import input_check
    from qmrunner.engines.nwchem import can_resume, check_deck, findings

    own, files = inputs.collect(deck, with_files)
    files[own] = files[own].removeprefix(codecs.BOM_UTF8)  # NWChem would read it as part of the first word
    text = decode(files[own], own)
    memory = check_deck(text, files.get)
    if not unconfined:
        input_check.refuse(findings(own, files, strict=strict))
    params: dict[str, Any] = {"deck": own, "files": list(files), **_unconfined_param(unconfined)}
    if memory is not None:
        params["memory_mib_per_rank"] = memory.total_mib
    if can_resume(text):
        params["resumes"] = True
    return Submission("nwchem", params, files)


def xtb(
    structure: str,
    args: Sequence[str] = (),
    with_files: Sequence[str] = (),
    *,
    unconfined: bool = False,
    strict: bool = False,
) -> Submission:
    """A user's own xTB run: structure file first, then `args` as they are. Raises UsageError for unreadable files, and
    `argument_escapes` or `deck_escapes` as `nwchem` does."""
    return _program("xtb", structure, args, with_files, unconfined, strict)


def crest(
    structure: str,
    args: Sequence[str] = (),
    with_files: Sequence[str] = (),
    *,
    unconfined: bool = False,
    strict: bool = False,
) -> Submission:
    """A user's own CREST run: structure file first, then `args` as they are. Raises UsageError as `xtb` does."""
    return _program("crest", structure, args, with_files, unconfined, strict)


def with_options(submission: Submission, options: JobOptions) -> Submission:
    """The submission with the options of any job. Raises UsageError `label_invalid`, `name_invalid`, `key_invalid`,
    `group_invalid`."""
    _check_names(options)
    try:
        requires = labels.check(options.require)
    except ValueError as problem:
        raise UsageError("label_invalid", f"labels: {problem}", remedy="use a label of QMRUNNER_LABELS") from None
    flags = ("fresh", "allow_altering", "network")
    params = {**submission.params, **{flag: True for flag in flags if getattr(options, flag)}}
    return replace(
        submission, params=params, name=options.name, priority=options.priority, key=options.key, requires=requires,
        group=options.group,
    )  # fmt: skip


def _check_names(options: JobOptions) -> None:
    try:
        names.check_name(options.name)
    except ValueError as problem:
        raise UsageError(
            "name_invalid", f"the job name: {problem}", remedy="use a shorter name without special characters"
        ) from None
    try:
        names.check_group(options.group)
    except ValueError as problem:
        raise UsageError(
            "group_invalid", f"the group: {problem}", remedy="use a short word, for example batch7"
        ) from None
    try:
        names.check_key(options.key)
    except ValueError as problem:
        raise UsageError("key_invalid", f"the idempotency key: {problem}", remedy="use a UUID, for example") from None


def _program(
    kind: str,
    structure: str,
    args: Sequence[str],
    with_files: Sequence[str],
    unconfined: bool,
    strict: bool,
) -> Submission:
    own, given = inputs.collect(structure, with_files)
    # Before the check of its content, which reads lines as the program will.
    lines = structure_files.in_lines(own, given[own])
    files = given | {own: lines.get(own, given[own])}
    inputs.check_arguments(args)
    if not unconfined:
        inputs.confine_arguments(args)
        _confine(kind, args, files, strict)
    _check_flags(kind, args, files, known_only=not unconfined)
    params: dict[str, Any] = {
        "structure": own,
        "args": list(args),
        "files": list(given),
        **_unconfined_param(unconfined),
    }
    frames = _frames(own, files[own])
    if frames:
        params["atoms"] = list(frames[0].symbols)
        files = files | structure_files.rewritten(own, files[own], frames, params)
        structure_files.note_comment(kind, own, frames[0].title, args, params)
    elif own.lower().endswith(".pdb"):
        structure_files.check_pdb(kind, own, files[own], params)
    if kind == "xtb":
        if frames:
            _check_atoms(args, files, len(frames[0].symbols))
        files = files | structure_files.for_xtb(own, files[own], len(frames), params)
        structure_files.check_formal_charge(own, files[own], args)
    _check_electrons(kind, params.get("atoms"), own, args, files)
    if lines:
        files = files | {name: data for name, data in lines.items() if name not in given}
        params["notes"] = [*params.get("notes", ()), structure_files.LINES_NOTE.format(name=own)]
    return Submission(kind, params, files)


def _check_atoms(args: Sequence[str], files: Mapping[str, bytes], count: int) -> None:
    from qmrunner.engines.xtb import detailed_input

    detailed_input.check_atoms(args, files, count)


def _check_flags(kind: str, args: Sequence[str], files: Mapping[str, bytes], *, known_only: bool) -> None:
    from qmrunner.engines import flags
    from qmrunner.engines.crest import flags as crest
    from qmrunner.engines.xtb import detailed_input
    from qmrunner.engines.xtb import flags as xtb

    flags.check({"xtb": xtb, "crest": crest}[kind].FLAGS, args, known_only=known_only)
    if kind == "xtb":
        detailed_input.check(args, files)


def _confine(kind: str, args: Sequence[str], files: Mapping[str, bytes], strict: bool) -> None:
    from qmrunner.engines import input_check
    from qmrunner.engines.crest import input_check as crest
    from qmrunner.engines.xtb import input_check as xtb

    input_check.refuse({"xtb": xtb, "crest": crest}[kind].findings(args, files, strict=strict))


def _unconfined_param(unconfined: bool) -> dict[str, Any]:
    """The param of an unconfined job; empty for a confined one."""
    return {"unconfined": True} if unconfined else {}


def _check_electrons(
    kind: str, symbols: Sequence[str] | None, own: str, args: Sequence[str], files: Mapping[str, bytes]
) -> None:
    """Check charge and spin of the arguments against the structure; skipped where a control file may override them."""
    from qmrunner.engines import openmp
    from qmrunner.engines import structure_checks as structure

    if symbols is None or any(name in files or name in args for name in _CONTROLS):
        return
    charge, unpaired = (openmp.value_of(args, structure_files.OPTIONS[kind][what]) for what in ("charge", "unpaired"))
    structure.check_electrons(
        own, tuple(symbols), 0 if charge is None else openmp.integer(charge), openmp.integer(unpaired)
    )


def _frames(name: str, data: bytes) -> tuple[Molecule, ...]:
    """The structures of an XYZ file, with the elements of the first one checked; empty for formats that only the
    engine can read."""
    from qmrunner.chemistry import elements, structures
    from qmrunner.chemistry.xyz import read_xyz

    if not name.lower().endswith(".xyz"):
        return ()
    frames = read_xyz(structures.decode(data, name), name)
    structures.check_elements(
        frames[0], elements.up_to(XTB_LAST_ELEMENT), "set of GFN2-xTB", "use a program that knows this element"
    )
    return frames
