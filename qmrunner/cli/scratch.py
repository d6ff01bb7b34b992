"""scratch plan, scratch usage: the space that jobs need and use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmrunner.cli.common import AsJson, build_app, console, open_app, print_json

if TYPE_CHECKING:
    from rich.table import Table

_FIGURES = ("memory", "scratch", "shm")
_scratch = typer.Typer(
    help="Plan the disk and memory of jobs, and show the use of the scratch volume.", no_args_is_help=True
)


def register(cli: typer.Typer) -> None:
    cli.add_typer(_scratch, name="scratch")


@_scratch.command()
def plan(
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="NMR jobs running at once.")] = 1,
    conformers: Annotated[int, typer.Option("--conformers", min=1, help="Kept conformers per job.")] = 1,
    atoms: Annotated[int, typer.Option("--atoms", min=2, max=1000, help="Atoms per molecule, with hydrogens.")] = 40,
    level: Annotated[str, typer.Option("--level", help="quick, draft or production.")] = "draft",
    slots: Annotated[
        int | None,
        typer.Option("--slots", min=1, help="Steps that run at once; default: QMRUNNER_SLOTS, else one per core."),
    ] = None,
    cores: Annotated[int | None, typer.Option("--cores", min=1, help="Cores; default: those of this machine.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how much disk, memory and shared memory NMR jobs of this size need, with the lines for a compose file."""
    from qmrunner.reports import scratch as forecast

    found = forecast.plan(
        build_app(), jobs=jobs, conformers=conformers, atoms=atoms, level=level, slots=slots, cores=cores
    )
    if as_json:
        print_json(found)
        return
    asked = found["asked"]
    out = console()
    out.print(
        f"{asked['jobs']} job(s) × {asked['conformers']} conformer(s) of {asked['atoms']} atoms, {asked['level']}: "
        f"{found['at_once']} step(s) at once on {found['cores']} core(s)"
    )
    out.print(_stage_table(found["stages"]))
    out.print(
        "MiB reserved (expected); expected: what such runs of this store used"
        if any(row["attempts"] for row in found["stages"])
        else "MiB reserved, by rule: this store has no run of that kind and size"
    )
    out.print(_needs_table(found))
    out.print("\n".join(["", *found["compose"]]))


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _stage_table(rows: list[dict[str, Any]]) -> Table:
    table = _table("one step of", "steps", "cores", *(f"{name} MiB" for name in _FIGURES), "runs")
    for row in rows:
        sizes = (_reserved_and_expected(row, f"{name}_mib") for name in _FIGURES)
        table.add_row(row["stage"], str(row["steps"]), str(row["cores"]), *sizes, str(row["attempts"] or "-"))
    return table


def _reserved_and_expected(row: dict[str, Any], name: str) -> str:
    expected = row["expected"] and row["expected"][name]
    return str(row[name]) if expected is None else f"{row[name]} ({expected})"


def _needs_table(found: dict[str, Any]) -> Table:
    table = _table("\nmachine", "\nneeds", "\nhere", "\n")
    for name, label in (("memory_mib", "memory"), ("shm_mib", "/dev/shm"), ("scratch_mib", "scratch volume")):
        here, at_once = found["here"][name], found["at_once_needs"][name]
        # `here` is what may be reserved, so it is compared with the steps that run at once.
        verdict = "" if here is None else "enough" if here >= at_once else "too small: steps would wait or be held"
        table.add_row(label, _size(found["needs"][name]), "-" if here is None else _size(here), verdict)
    table.add_row("home (results, logs, store)", _size(found["needs"]["home_mib"]), "", "")
    return table


def _size(mib: float) -> str:
    from qmrunner.model.wait_reasons import size

    return size(mib)


@_scratch.command()
def usage(as_json: AsJson = False) -> None:
    """Show the scratch volume: its use by job, its free space, and what is left when all reservations are used."""
    from qmrunner.reports import scratch as forecast

    found = forecast.usage(open_app())
    if as_json:
        print_json(found)
        return
    out = console()
    table = _table("job", "running", "on disk MiB", "reserved MiB", "still to come MiB", "kept until")
    for row in found["jobs"]:
        table.add_row(
            row["job"], str(row["running"]), f"{row['on_disk_mib']:.1f}", str(row["reserved_mib"]),
            f"{row['unused_mib']:.1f}", row["kept_until"] or "",
        )  # fmt: skip
    out.print(table if found["jobs"] else "no job has files in scratch")
    for line in _usage_lines(found):
        out.print(line)


def _usage_lines(found: dict[str, Any]) -> list[str]:
    volume, waiting, forecast = found["volume"], found["waiting"], found["forecast"]
    if volume is None:
        return ["the scratch folder does not exist"]
    lines = [
        "",
        f"volume {volume['path']}: {_size(volume['free_mib'])} of {_size(volume['total_mib'])} free, other files "
        f"{_size(found['others_mib'])}",
        f"no step starts below {_size(volume['soft_mark_mib'])} free; below {_size(volume['hard_mark_mib'])} the step "
        "furthest over its reservation is stopped",
        f"left to reserve: {_size(max(0, found['left_mib'] or 0))}",
        f"waiting: {waiting['steps']} step(s) for {_size(waiting['scratch_mib'])}; {waiting['start_now']} of them "
        "could start now",
        f"forecast: {_size(max(0, forecast['free_when_reservations_are_used_mib']))} free when all reservations are "
        f"used; {_size(forecast['given_back_by_running_mib'])} are freed when the running steps end, "
        f"{_size(forecast['kept_of_failed_mib'])} are kept for failed steps",
    ]
    return [*lines, f"no step can start: {found['blocked']}"] if found["blocked"] else lines
