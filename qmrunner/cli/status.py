"""status, result, why: the commands that show jobs; `logs` is in its own file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmrunner.cli.common import (
    AsJson,
    JobId,
    add_row,
    build_app,
    coloured,
    console,
    duration,
    elapsed,
    job_named,
    job_state,
    open_app,
    print_json,
    progress_text,
    report,
    step_text,
    styled,
    table,
)
from qmrunner.cli.job_list import found_jobs, job_table
from qmrunner.cli.logs import logs
from qmrunner.cli.selection import Where
from qmrunner.errors import UsageError
from qmrunner.model import visible

if TYPE_CHECKING:
    from rich.console import Console, Group

    from qmrunner.app import App
    from qmrunner.settings import Settings


def register(cli: typer.Typer) -> None:
    for command in (status, logs, result, why):
        cli.command()(command)


def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Id of a job, or of its Huey task; default: all jobs.")
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", "-w", help="Refresh the display until Ctrl-C or, with JOB, until the job ends or is held."
        ),
    ] = False,
    where: Where = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="With --where: list at most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show workers, jobs, steps, progress, heartbeats and disk space, even when the daemon hangs or is down."""
    if where is not None:
        if job or watch:
            raise UsageError("usage", "--where takes neither a job nor --watch", remedy="leave one of them out")
        found_jobs(open_app(), where, limit, as_json)
        return
    name = "job" if job else "overview"
    if as_json:
        print_json(report(name, job or None, opening=_open_even_when_stuck))
        return
    out = console()
    if not watch:
        out.print(_render(report(name, job or None, opening=_open_even_when_stuck)))
        return
    _watch(out, name, job)


def _watch(out: Console, name: str, job: str | None) -> None:
    """Show the report again and again, until the job ends or is held. Made here: the worker has other work."""
    from rich.live import Live

    from qmrunner import settings
    from qmrunner.reports import named

    app = _open_even_when_stuck(settings.load())
    with Live(_render(named.make(app, name, job)), console=out, refresh_per_second=2) as live:
        while True:
            time.sleep(0.5)
            seen = named.make(app, name, job)
            live.update(_render(seen))
            if job and seen["job"]["state"] in ("succeeded", "failed", "cancelled", "held"):
                return


def _open_even_when_stuck(settings: Settings) -> App:
    """The app, even when its store does not answer: then the daemon's state file is shown instead."""
    from qmrunner.store.session import StoreUnavailable

    opened = build_app(settings, busy_seconds=2.0)
    try:
        opened.open_store(create=False)
    except StoreUnavailable:
        pass  # the output reports it
    return opened


def _render(seen: dict[str, Any]) -> Group:
    from rich.console import Group

    seen = visible.fields(seen)
    if "job" in seen:
        return Group(*_job_lines(seen["job"]))
    if "store" in seen:
        return Group(*_stuck_lines(seen))
    return Group(*_overview_lines(seen))


def _overview_lines(seen: dict[str, Any]) -> list[Any]:
    workers = table("worker", "state", "pid", "slots", "cores", "mem GiB", "scratch GiB", "shm GiB", "heartbeat")
    for row in seen["workers"]:
        age = f"{row['heartbeat_age_s']} s" + (
            " (ended unexpectedly)" if row["ended_unexpectedly"] else " (stale)" if row["stale"] else ""
        )
        add_row(
            workers, f"{row['id']} {row['name']}", coloured(row["state"]), str(row["pid"]), str(row["slots"]),
            _reserved_of(row, "cores"), *(_reserved_of(row, name) for name in ("memory_mib", "scratch_mib", "shm_mib")),
            age,
        )  # fmt: skip
    apps = table("app", "state", "pid", "-w", "pending", "scheduled", "storage")
    for row in seen["apps"]:
        weaker = "" if row["guarantee"] in (None, "full") else f" ({row['guarantee']})"
        stale = row["stale"] and row["state"] != "away"  # which is noted once
        add_row(
            apps, row["name"], "stale" if stale else coloured(row["state"]), _shown(row["pid"]),
            _shown(row["workers"]), _shown(row["pending"]), _shown(row["scheduled"]), _shown(row["storage"]) + weaker,
        )  # fmt: skip
    jobs = job_table(seen["jobs"])
    lines: list[Any] = [
        workers if seen["workers"] else "no worker is running: start `qmrunner run`",
        "",
        *([apps, *_away(seen["apps"]), ""] if seen["apps"] else []),
        jobs if seen["jobs"] else "no jobs yet: submit one, for example `qmrunner submit nmr CCO`",
    ]
    if seen["queue"]["paused"]:
        lines.append(styled(("paused: no step is started; `qmrunner resume` ends the pause", "yellow")))
    if seen["artifacts"]:
        lost = seen["artifacts"]["lost_s"]
        away = "" if lost is None else f"  has not answered for {duration(lost)}"
        lines.append(styled(f"artifacts: {seen['artifacts']['url']}", (away, "red")))
    return [*lines, "", _disk_line(seen["disk"])]


def _away(apps: list[dict[str, Any]]) -> list[Any]:
    """Why applications are away."""
    return [
        styled((f"{row['name']}: {row['evidence']}", "yellow"))
        for row in apps
        if row["state"] == "away" and row["evidence"]
    ]


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _reserved_of(row: dict[str, Any], name: str) -> str:
    """Reserved and total of a worker: 2/8 cores, 1.2/15.1 GiB."""
    total, held = row[name], row["reserved"][name]
    if total is None:
        return "-"
    return f"{held}/{total}" if name == "cores" else f"{held / 1024:.1f}/{total / 1024:.1f}"


def _disk_line(disk: dict[str, Any]) -> str:
    parts = [
        f"{name} {space['free_mib'] / 1024:.1f} of {space['total_mib'] / 1024:.1f} GiB free"
        for name, space in disk.items()
        if space
    ]
    return "disk: " + ", ".join(parts)


def _stuck_lines(seen: dict[str, Any]) -> list[Any]:
    state = seen["state_file"]
    lines: list[Any] = [styled(("the store does not answer", "red"), f": {seen['store']['evidence']}")]
    if state is None:
        return [*lines, "there is no state file of a daemon of this home either"]
    lines.append(f"state file of the daemon, written {state['age_s']} s ago:")
    live = table("job/step", "attempt", "engine pid", "progress")
    for attempt in state["attempts"]:
        name, progress = f"{attempt['job']}/{attempt['step']}", progress_text(attempt["progress"])
        add_row(live, name, str(attempt["attempt"]), str(attempt["engine_pid"]), progress)
    return [*lines, live, _disk_line(seen["disk"])]


def _job_lines(job: dict[str, Any]) -> list[Any]:
    took = duration(elapsed(job["started_at"], job["finished_at"]))
    head = styled(
        (job["id"], "bold"),
        f" {job['kind']} ",
        coloured(job_state(job)),
        f"  {job['progress'].get('text', '')}  {took}",
    )
    steps = table("step", "state", "attempt", "pid", "cores", "heartbeat", "memory", "scratch", "progress")
    for step in job["steps"]:
        beat = step["heartbeat_age_s"]
        add_row(
            steps, step["id"], coloured(step["state"]), str(step["attempt"] or ""), str(step["engine_pid"] or ""),
            str(step["cores"] or ""), "" if beat is None else f"{beat} s",
            _used(step, "memory"), _used(step, "scratch"), step_text(step),
        )  # fmt: skip
    lines: list[Any] = [head, steps]
    if any(step["reserved"] for step in job["steps"]):
        lines.append(styled(("memory, scratch: used/reserved (estimated), MiB", "dim")))
    if job["summary"] and job["state"] != "succeeded":
        lines.append(styled(f"{job['summary']}; `qmrunner why {job['id']}`"))
    if (halt := job["interrupted"]) is not None:
        since = "" if halt["since"] is None else f" (since {halt['since']})"
        lines.append(styled(f"{halt['summary']}{since}; {halt['then']}"))
    return lines


def _used(step: dict[str, Any], what: str) -> str:
    """Used, reserved and estimated MiB of a live step."""
    if not step["reserved"]:
        return ""
    used = step["usage"].get(f"{what}_mib")
    seen = "-" if used is None else f"{used:.0f}"
    return f"{seen}/{step['reserved'][f'{what}_mib']} ({step['estimate'][f'{what}_mib']})"


def result(
    job: JobId,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Copy the result files to this folder.")
    ] = None,
    measured: Annotated[
        str | None,
        typer.Option(
            "--measured", metavar="FILE", help="Keep measured peaks (text, JCAMP-DX; -: stdin) and compare the shifts."
        ),
    ] = None,
    page: Annotated[
        str | None, typer.Option("--report", metavar="FILE", help="Write a report: one HTML file, which also prints.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="Print the result as qcschema, nmredata, jcamp, csv or sdf (shifts on atoms)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the shifts, energies and files of a finished job."""
    from qmrunner.cli import measured as peaks
    from qmrunner.cli.render import show_result
    from qmrunner.reports import exports, files
    from qmrunner.reports import status as reports_status

    app = open_app()
    job = job_named(app, job)
    if form is not None:
        print(exports.render(app, job, form), end="")
        return
    shown = reports_status.result_view(app, job)
    if out:
        files.bring_all(app, job)
        _copy_files(shown, out)
    compared = peaks.kept(app, job, measured) if measured else None
    if page:
        peaks.write_report(app, job, page)
    if as_json:
        print_json({**shown, **({"measured": compared} if compared else {})})
    elif compared:
        peaks.show(console(), compared)
    elif not page:
        show_result(console(), shown)


def _copy_files(result: dict[str, Any], out: str) -> None:
    import shutil
    from pathlib import Path

    from qmrunner import private
    from qmrunner.errors import UsageError

    target = Path(out)
    try:
        with private.as_started():
            for name in result["files"]:
                place = target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(result["folder"]) / name, place)
    except OSError as problem:
        raise UsageError(
            "cannot_copy",
            f"the files could not be copied to {target}",
            evidence=str(problem),
            remedy="choose another --out",
        ) from None


def why(job: JobId, as_json: AsJson = False) -> None:
    """Explain the state of a job: what it is doing or what went wrong, the evidence, and the command to run next."""
    from qmrunner.cli.render import show_why

    explanation = report("why", job)
    if as_json:
        print_json(explanation)
    else:
        show_why(console(), explanation)
