"""submit nmr|conformers|nwchem|xtb|crest|qcschema."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from qmrunner.cli.bundles import expand
from qmrunner.cli.common import AsJson, build_app, login_name, print_json, say
from qmrunner.errors import ExitCode
from qmrunner.submission.request import (
    MAX_LOST_WEIGHT,
    SOLVENT,
    TEMPERATURE_K,
    ConformerSearch,
    JobOptions,
    MoleculeRequest,
)

if TYPE_CHECKING:
    from qmrunner.app import App
    from qmrunner.model.jobs import Submission

_submit = typer.Typer(help="Submit a job. Its id is printed once the job is stored durably.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(
        metavar="SMILES|FILE", help="SMILES, InChI, or a structure file: .xyz, .mol, .sdf, .pdb, .cml, .gjf and others."
    ),
]
Solvent = Annotated[str, typer.Option("--solvent", help="One of 12 solvents, or vacuum.")]
Level = Annotated[
    str,
    typer.Option("--level", help="quick (6-31G* on xTB structures), draft (6-31G*) or production (6-311+G(2d,p))."),
]
Method = Annotated[
    str,
    typer.Option(
        "--conformers",
        help="none (one structure), auto (CREST if installed, else RDKit), rdkit or crest; default none.",
    ),
]
SearchMethod = Annotated[
    str,
    typer.Option(
        "--conformers",
        help="auto (CREST if installed, else RDKit), rdkit, crest, or none for a file of several structures;"
        " default auto.",
    ),
]
Deck = Annotated[str, typer.Argument(metavar="DECK.nw", help="NWChem input file.")]
Structure = Annotated[str, typer.Argument(metavar="FILE.xyz", help="Structure file.")]
Args = Annotated[list[str] | None, typer.Argument(metavar="[-- FLAGS]", help="Flags passed to the program, after --.")]

# The digest takes a structure by its SMILES or its bytes, and files by their bytes, whatever folder they are in.
_NOT_DIGESTED = ("source", "deck", "structure", "with_files", "key", "wait", "check", "as_json")
_FIELDS = {"mult": "multiplicity", "temperature": "temperature_k"}  # their names in the HTTP API


@dataclass(frozen=True)
class Molecule:
    """Options of the kinds of job that start from a molecule."""

    max_conformers: Annotated[
        int | None,
        typer.Option("--max-conformers", help="Keep at most this many; default depends on the rotatable bonds."),
    ] = None
    max_lost_weight: Annotated[
        float,
        typer.Option(
            "--max-lost-weight",
            help="Fail the job if the conformers that failed have more than this share of the weight; default 0.1.",
        ),
    ] = MAX_LOST_WEIGHT
    max_atoms: Annotated[
        int | None, typer.Option("--max-atoms", help="Refuse larger molecules; default QMRUNNER_MAX_ATOMS.")
    ] = None
    charge: Annotated[int | None, typer.Option("--charge", help="Total charge; default: from the structure.")] = None
    mult: Annotated[int | None, typer.Option("--mult", help="Spin multiplicity; default: from the structure.")] = None
    temperature: Annotated[
        float, typer.Option("--temperature", help="Temperature of the Boltzmann weights in kelvin; default 298.15.")
    ] = TEMPERATURE_K
    allow_topology_change: Annotated[
        bool,
        typer.Option(
            "--allow-topology-change",
            help="Keep structures whose bonds changed during optimisation, with a note; default: drop them.",
        ),
    ] = False


@dataclass(frozen=True)
class Beside:
    """Options of the kinds of job that run a user's own input."""

    with_files: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="FILE", help="Extra file to place next to the input (repeatable)."),
    ] = None
    unconfined: Annotated[
        bool,
        typer.Option(
            "--unconfined", help="Allow the input to read other files and run commands with your permissions."
        ),
    ] = False


@dataclass(frozen=True)
class Common:
    """Options of every kind of job."""

    name: Annotated[str | None, typer.Option("--name", help="Human-readable job name.")] = None
    group: Annotated[
        str | None, typer.Option("--group", help="Name of the jobs that belong together, for filters and bulk actions.")
    ] = None
    priority: Annotated[int, typer.Option("--priority", help="Jobs with a higher priority run first.")] = 0
    key: Annotated[
        str | None,
        typer.Option("--key", help="Idempotency key: submitting the same request again returns the same job."),
    ] = None
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="LABEL",
            help="Run only on workers whose QMRUNNER_LABELS contain this label (repeatable).",
        ),
    ] = None
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute every step; do not reuse results of identical steps.")
    ] = False
    allow_altering: Annotated[
        bool,
        typer.Option(
            "--allow-altering",
            help="After a failure, also allow automatic changes that alter the result; each one is recorded.",
        ),
    ] = False
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it ends or is held; the exit status shows which.")
    ] = False
    check: Annotated[
        bool,
        typer.Option("--check", help="Print what the job would cost and what is doubtful about it; submit nothing."),
    ] = False
    as_json: AsJson = False


def register(cli: typer.Typer) -> None:
    from qmrunner.cli import submit_many

    submit_many.register(_submit)
    cli.add_typer(_submit, name="submit")


@_submit.command()
@expand
def nmr(
    *,
    source: Source,
    solvent: Solvent = SOLVENT,
    level: Level = "draft",
    conformers: Method = "none",
    molecule: Molecule,
    common: Common,
) -> None:
    """Predict 1H and 13C NMR shifts."""
    from qmrunner.submission import job_kinds

    app = build_app()
    request, search = request_of(app, source, solvent, molecule), search_of(app, conformers, molecule)
    _submit_job(job_kinds.nmr(request, search, level=level), common, app)


@_submit.command()
@expand
def conformers(
    *, source: Source, solvent: Solvent = SOLVENT, conformers: SearchMethod = "auto", molecule: Molecule, common: Common
) -> None:
    """Search conformers and rank them with xTB."""
    from qmrunner.submission import job_kinds

    app = build_app()
    request, search = request_of(app, source, solvent, molecule), search_of(app, conformers, molecule)
    _submit_job(job_kinds.conformers(request, search), common, app)


@_submit.command()
@expand
def nwchem(*, deck: Deck, beside: Beside, common: Common) -> None:
    """Run your own NWChem deck."""
    from qmrunner.submission import job_kinds

    _submit_job(job_kinds.nwchem(deck, beside.with_files or [], unconfined=beside.unconfined), common)


@_submit.command()
@expand
def xtb(*, structure: Structure, args: Args = None, beside: Beside, common: Common) -> None:
    """Run xTB with your own flags: submit xtb mol.xyz -- --opt tight --alpb chcl3"""
    from qmrunner.submission import job_kinds

    run = job_kinds.xtb(structure, args or [], beside.with_files or [], unconfined=beside.unconfined)
    _submit_job(run, common)


@_submit.command()
@expand
def crest(*, structure: Structure, args: Args = None, beside: Beside, common: Common) -> None:
    """Run CREST with your own flags: submit crest mol.xyz -- --quick"""
    from qmrunner.submission import job_kinds

    run = job_kinds.crest(structure, args or [], beside.with_files or [], unconfined=beside.unconfined)
    _submit_job(run, common)


@_submit.command()
@expand
def qcschema(
    *,
    source: Annotated[str, typer.Argument(metavar="INPUT.json", help="AtomicInput or OptimizationInput, version 1.")],
    program: Annotated[
        str | None,
        typer.Option("--program", help="nwchem or xtb; default: xtb for GFN methods, else nwchem."),
    ] = None,
    common: Common,
) -> None:
    """Run an input of QCSchema with NWChem or xTB: energy, gradient, hessian or an optimisation."""
    from qmrunner.submission.qcschema import qcschema as made

    _submit_job(made(source, program), common)


def request_of(app: App, source: str, solvent: str, options: Molecule) -> MoleculeRequest:
    """The molecule that the options describe."""
    limit = options.max_atoms or app.settings.max_atoms
    return MoleculeRequest(source, solvent, options.charge, options.mult, limit)


def search_of(app: App, method: str, options: Molecule) -> ConformerSearch:
    """The conformer search that the options describe."""
    return ConformerSearch(
        method,
        max_conformers=options.max_conformers,
        max_lost_weight=options.max_lost_weight,
        temperature_k=options.temperature,
        crest_installed=method == "auto" and app.located("crest"),
        allow_topology_change=options.allow_topology_change,
    )


def _submit_job(submission: Submission, common: Common, app: App | None = None) -> None:
    """Add the common options, the owner and the digest; store the job; print its id or follow it to its end."""
    from qmrunner.submission.job_kinds import with_options
    from qmrunner.submission.submit import submit

    options = JobOptions(
        common.name, common.priority, common.key, common.fresh, common.allow_altering, common.require or (),
        group=common.group,
    )  # fmt: skip
    submission = with_options(submission, options)
    digest = None if submission.key is None else _digest(submission)
    submission = replace(submission, owner=login_name(), request_digest=digest)
    app = app or build_app()
    if common.check:
        from qmrunner.cli.check import check

        check(app, submission, common.as_json)
        return
    job_id = submit(app, submission).job_id
    status = after_submit(app)
    if common.wait and status == ExitCode.OK:
        from qmrunner.cli.follow import follow

        raise typer.Exit(follow(app, job_id, common.as_json))
    _print_submitted(app, job_id, common.as_json)
    raise typer.Exit(status)


def after_submit(app: App) -> ExitCode:
    """What the command that runs this one does once jobs are stored: `qmrunner slurm submit` starts pilots."""
    then = click.get_current_context().obj
    return then(app) if callable(then) else ExitCode.OK


def _print_submitted(app: App, job_id: str, as_json: bool) -> None:
    if as_json:
        from qmrunner.reports import status

        print_json(status.submitted_view(app, job_id))
        return
    from qmrunner.host.home import holder_of

    say(job_id)
    if holder_of(app.settings.run_root) is None and app.store.is_sqlite:
        say(f"no daemon runs on {app.settings.home}: start `qmrunner run`", err=True)


def _digest(submission: Submission) -> str:
    """Digest of the command line. Every option counts except those that do not change the job, so a new one counts."""
    from qmrunner.submission import digest

    context = click.get_current_context()
    fields: dict[str, Any] = {"kind": submission.kind}
    for option in context.command.params:
        value = context.params.get(str(option.name))
        if option.name not in _NOT_DIGESTED and value not in (option.get_default(context), None, (), []):
            fields[_FIELDS.get(str(option.name), str(option.name))] = value
    if "smiles" in submission.params.get("input", {}):
        fields["smiles"] = submission.params["input"]["smiles"]
    files = ((name, hashlib.sha256(data).hexdigest()) for name, data in submission.files.items())
    return digest.digest(fields, files)
