"""submit nmr|nwchem|xtb|crest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qmrunner.cli.common import AsJson, print_json

if TYPE_CHECKING:
    from qmrunner.model.jobs import Submission

_submit = typer.Typer(help="Hand in a job. Its id is printed once it is stored durably.", no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--name", help="A name for people.")]
Priority = Annotated[int, typer.Option("--priority", help="Higher runs first.")]
Key = Annotated[str | None, typer.Option("--key", help="Idempotency key: the same key gives the same job.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the job to its end; exit with its status.")]
With = Annotated[list[str] | None, typer.Option("--with", metavar="FILE", help="A file to lie beside the input.")]
Args = Annotated[list[str] | None, typer.Argument(metavar="[-- FLAGS]", help="Flags for the program, after --.")]


def register(cli: typer.Typer) -> None:
    cli.add_typer(_submit, name="submit")


@_submit.command()
def nmr(
    source: Annotated[str, typer.Argument(metavar="SMILES|FILE", help="SMILES, or an .xyz, .mol or .sdf file.")],
    solvent: Annotated[str, typer.Option("--solvent", help="One of 13 solvents, or vacuum.")] = "chloroform",
    level: Annotated[str, typer.Option("--level", help="draft (6-31G*) or production (6-311+G(2d,p)).")] = "draft",
    conformers: Annotated[str, typer.Option("--conformers", help="Where conformers come from.")] = "none",
    max_conformers: Annotated[int | None, typer.Option("--max-conformers", help="Keep at most this many.")] = None,
    charge: Annotated[int | None, typer.Option("--charge", help="Total charge.")] = None,
    mult: Annotated[int | None, typer.Option("--mult", help="Spin multiplicity.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="For Boltzmann weights, kelvin.")] = 298.15,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Predict 1H and 13C NMR shifts."""
    from qmrunner.workflows import submission

    _hand_in(
        submission.nmr(
            source,
            solvent=solvent,
            level=level,
            conformers=conformers,
            max_conformers=max_conformers,
            charge=charge,
            multiplicity=mult,
            temperature_k=temperature,
            name=name,
            priority=priority,
            key=key,
        ),
        wait,
        as_json,
    )


@_submit.command()
def nwchem(
    deck: Annotated[str, typer.Argument(metavar="DECK.nw", help="An NWChem input file.")],
    with_files: With = None,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run an NWChem deck of your own."""
    from qmrunner.workflows import submission

    _hand_in(submission.nwchem(deck, with_files or [], name=name, priority=priority, key=key), wait, as_json)


@_submit.command()
def xtb(
    structure: Annotated[str, typer.Argument(metavar="FILE.xyz", help="The structure.")],
    args: Args = None,
    with_files: With = None,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run xTB with flags of your own: submit xtb mol.xyz -- --opt tight --alpb chcl3"""
    from qmrunner.workflows import submission

    _hand_in(
        submission.xtb(structure, args or [], with_files or [], name=name, priority=priority, key=key), wait, as_json
    )


@_submit.command()
def crest(
    structure: Annotated[str, typer.Argument(metavar="FILE.xyz", help="The structure.")],
    args: Args = None,
    with_files: With = None,
    name: Name = None,
    priority: Priority = 0,
    key: Key = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run CREST with flags of your own: submit crest mol.xyz -- --quick"""
    from qmrunner.workflows import submission

    _hand_in(
        submission.crest(structure, args or [], with_files or [], name=name, priority=priority, key=key), wait, as_json
    )


def _hand_in(submission: Submission, wait: bool, as_json: bool) -> None:
    from qmrunner import app
    from qmrunner.runtime.home import holder_of

    opened = app.build()
    job_id = opened.submit(submission)
    if not wait:
        if as_json:
            print_json({"id": job_id})
        else:
            print(job_id)
            if holder_of(opened.settings.run_root) is None and opened.store.is_sqlite:
                typer.echo(f"no daemon runs on {opened.settings.home}: start `qmrunner run`", err=True)
        return
    from qmrunner.cli.waiting import follow

    raise typer.Exit(follow(opened, job_id, as_json))
