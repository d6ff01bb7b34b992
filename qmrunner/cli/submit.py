"""submit nmr|conformers|nwchem|xtb|crest."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from qmrunner.cli.common import AsJson, print_json, say

if TYPE_CHECKING:
    from qmrunner.app import App
    from qmrunner.model.jobs import Submission

_submit = typer.Typer(help="Hand in a job. Its id is printed once it is stored durably.", no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--name", help="A name for people.")]
Priority = Annotated[int, typer.Option("--priority", help="Higher runs first.")]
Key = Annotated[str | None, typer.Option("--key", help="Idempotency key: it stands for one request and its job.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Compute every step, also those computed before.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the job to its end; exit with its status.")]
Altering = Annotated[
    bool, typer.Option("--allow-altering", help="Remedies of this job may alter the answer; each is on record.")
]
Changing = Annotated[
    bool, typer.Option("--allow-topology-change", help="Keep structures that became another molecule, with a note.")
]
Require = Annotated[
    list[str] | None, typer.Option("--require", metavar="LABEL", help="Run only where QMRUNNER_LABELS has this label.")
]
With = Annotated[list[str] | None, typer.Option("--with", metavar="FILE", help="A file to lie beside the input.")]
Unconfined = Annotated[
    bool, typer.Option("--unconfined", help="Let the input use files elsewhere and run commands, as you may yourself.")
]
Source = Annotated[str, typer.Argument(metavar="SMILES|FILE", help="SMILES, or an .xyz, .mol or .sdf file.")]
Solvent = Annotated[str, typer.Option("--solvent", help="One of 13 solvents, or vacuum.")]
Search = Annotated[
    str, typer.Option("--conformers", help="auto (CREST if installed, else RDKit), rdkit, crest or none.")
]
Most = Annotated[
    int | None, typer.Option("--max-conformers", help="Keep at most this many; default from the rotatable bonds.")
]
Lost = Annotated[
    float, typer.Option("--max-lost-weight", help="Fail when failed conformers hold more of the Boltzmann weight.")
]
Atoms = Annotated[int | None, typer.Option("--max-atoms", help="Refuse larger molecules; default QMRUNNER_MAX_ATOMS.")]
Charge = Annotated[int | None, typer.Option("--charge", help="Total charge.")]
Mult = Annotated[int | None, typer.Option("--mult", help="Spin multiplicity.")]
Temperature = Annotated[float, typer.Option("--temperature", help="For Boltzmann weights, kelvin.")]
Args = Annotated[list[str] | None, typer.Argument(metavar="[-- FLAGS]", help="Flags for the program, after --.")]

# The structure counts by its SMILES or by its bytes, files by their bytes, whatever folder they lie in.
_NO_PART_OF_THE_JOB = ("source", "deck", "structure", "with_files", "key", "wait", "as_json")
_FIELDS = {"mult": "multiplicity", "temperature": "temperature_k"}  # as they are called over HTTP


def register(cli: typer.Typer) -> None:
    cli.add_typer(_submit, name="submit")


@_submit.command()
def nmr(
    source: Source,
    solvent: Solvent = "chloroform",
    level: Annotated[str, typer.Option("--level", help="draft (6-31G*) or production (6-311+G(2d,p)).")] = "draft",
    conformers: Search = "none",
    max_conformers: Most = None,
    max_lost_weight: Lost = 0.1,
    max_atoms: Atoms = None,
    charge: Charge = None,
    mult: Mult = None,
    temperature: Temperature = 298.15,
    allow_topology_change: Changing = False,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    require: Require = None,
    fresh: Fresh = False,
    allow_altering: Altering = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Predict 1H and 13C NMR shifts."""
    from qmrunner.submission import kinds as submission

    opened = _app()
    prediction = submission.nmr(
        source,
        solvent=solvent,
        level=level,
        conformers=conformers,
        max_conformers=max_conformers,
        max_lost_weight=max_lost_weight,
        max_atoms=max_atoms or opened.settings.max_atoms,
        crest_installed=_has_crest(opened, conformers),
        allow_topology_change=allow_topology_change,
        charge=charge,
        multiplicity=mult,
        temperature_k=temperature,
        name=name,
        priority=priority,
        key=key,
    )
    _hand_in(_told(prediction, require, fresh, allow_altering), wait, as_json, opened)


@_submit.command()
def conformers(
    source: Source,
    solvent: Solvent = "chloroform",
    conformers: Search = "auto",
    max_conformers: Most = None,
    max_lost_weight: Lost = 0.1,
    max_atoms: Atoms = None,
    charge: Charge = None,
    mult: Mult = None,
    temperature: Temperature = 298.15,
    allow_topology_change: Changing = False,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    require: Require = None,
    fresh: Fresh = False,
    allow_altering: Altering = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Search conformers and rank them with xTB."""
    from qmrunner.submission import kinds as submission

    opened = _app()
    search = submission.conformers(
        source,
        solvent=solvent,
        conformers=conformers,
        max_conformers=max_conformers,
        max_lost_weight=max_lost_weight,
        max_atoms=max_atoms or opened.settings.max_atoms,
        crest_installed=_has_crest(opened, conformers),
        allow_topology_change=allow_topology_change,
        charge=charge,
        multiplicity=mult,
        temperature_k=temperature,
        name=name,
        priority=priority,
        key=key,
    )
    _hand_in(_told(search, require, fresh, allow_altering), wait, as_json, opened)


@_submit.command()
def nwchem(
    deck: Annotated[str, typer.Argument(metavar="DECK.nw", help="An NWChem input file.")],
    with_files: With = None,
    unconfined: Unconfined = False,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    require: Require = None,
    fresh: Fresh = False,
    allow_altering: Altering = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run an NWChem deck of your own."""
    from qmrunner.submission import kinds as submission

    found = submission.nwchem(deck, with_files or [], unconfined=unconfined, name=name, priority=priority, key=key)
    _hand_in(_told(found, require, fresh, allow_altering), wait, as_json)


@_submit.command()
def xtb(
    structure: Annotated[str, typer.Argument(metavar="FILE.xyz", help="The structure.")],
    args: Args = None,
    with_files: With = None,
    unconfined: Unconfined = False,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    require: Require = None,
    fresh: Fresh = False,
    allow_altering: Altering = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run xTB with flags of your own: submit xtb mol.xyz -- --opt tight --alpb chcl3"""
    from qmrunner.submission import kinds as submission

    found = submission.xtb(
        structure, args or [], with_files or [], unconfined=unconfined, name=name, priority=priority, key=key
    )
    _hand_in(_told(found, require, fresh, allow_altering), wait, as_json)


@_submit.command()
def crest(
    structure: Annotated[str, typer.Argument(metavar="FILE.xyz", help="The structure.")],
    args: Args = None,
    with_files: With = None,
    unconfined: Unconfined = False,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    require: Require = None,
    fresh: Fresh = False,
    allow_altering: Altering = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run CREST with flags of your own: submit crest mol.xyz -- --quick"""
    from qmrunner.submission import kinds as submission

    found = submission.crest(
        structure, args or [], with_files or [], unconfined=unconfined, name=name, priority=priority, key=key
    )
    _hand_in(_told(found, require, fresh, allow_altering), wait, as_json)


def _app() -> App:
    from qmrunner import app

    return app.build()


def _has_crest(opened: App, conformers: str) -> bool:
    """Whether CREST is installed here; only asked for `auto`."""
    return conformers == "auto" and opened.located("crest")


def _told(submission: Submission, require: list[str] | None, fresh: bool, allow_altering: bool) -> Submission:
    """The submission with what every kind of job may be told, who hands it in, and what its key stands for."""
    from qmrunner.submission.kinds import told

    made = told(submission, fresh=fresh, allow_altering=allow_altering, require=require or ())
    return replace(made, owner=_login_name(), request_digest=None if made.key is None else _digest(made))


def _digest(submission: Submission) -> str:
    """Of what was typed. Every option counts but those that leave the job as it is, so that a new one does, too."""
    from qmrunner.submission import digest

    context = click.get_current_context()
    fields: dict[str, Any] = {"kind": submission.kind}
    for option in context.command.params:
        value = context.params.get(str(option.name))
        if option.name not in _NO_PART_OF_THE_JOB and value not in (option.get_default(context), None, (), []):
            fields[_FIELDS.get(str(option.name), str(option.name))] = value
    if "smiles" in submission.params.get("input", {}):
        fields["smiles"] = submission.params["input"]["smiles"]
    files = ((name, hashlib.sha256(data).hexdigest()) for name, data in submission.files.items())
    return digest.digest(fields, files)


def _login_name() -> str:
    """Whose share of the machines the job counts to: of the user id, whatever the environment says."""
    import os
    import pwd

    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a container's user without an entry in /etc/passwd
        return f"uid {user}"


def _hand_in(submission: Submission, wait: bool, as_json: bool, opened: App | None = None) -> None:
    from qmrunner.host.home import holder_of
    from qmrunner.submission.submit import submit

    opened = opened or _app()
    job_id = submit(opened, submission).job_id
    if not wait:
        if as_json:
            from qmrunner.reports import status

            print_json(status.submitted_view(opened, job_id))
        else:
            say(job_id)
            if holder_of(opened.settings.run_root) is None and opened.store.is_sqlite:
                say(f"no daemon runs on {opened.settings.home}: start `qmrunner run`", err=True)
        return
    from qmrunner.cli.follow import follow

    raise typer.Exit(follow(opened, job_id, as_json))
