"""`submit … --check`: what a job would cost, without submitting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmrunner.cli.common import add_row, console, duration, print_json, styled, table
from qmrunner.model import visible

if TYPE_CHECKING:
    from qmrunner.app import App
    from qmrunner.model.jobs import Submission


def check(app: App, submission: Submission, as_json: bool) -> None:
    """Print the verdict on a submission. Stores nothing."""
    from qmrunner.submission.check import verdict
    from qmrunner.submission.facts import facts

    found = verdict(app, submission, facts(submission))
    if as_json:
        print_json(found)
        return
    found = visible.fields(found)
    out = console()
    if found["formula"]:
        charge = "" if not found["charge"] else f", charge {found['charge']:+d}"
        rotors = "" if found["rotors"] is None else f", {found['rotors']} rotor(s)"
        out.print(
            styled((found["formula"], "bold"), f"  {found['atoms']} atoms{charge}{rotors}  {found['smiles'] or ''}")
        )
    out.print(_stages(found["stages"]))
    for line in _lines(found):
        out.print(line)
    for warning in found["warnings"]:
        atoms = f" (atoms {', '.join(map(str, warning['atoms']))})" if warning["atoms"] else ""
        out.print(styled(("warning: ", "yellow"), f"{warning['text']}{atoms}"))


def _stages(rows: list[dict[str, Any]]) -> Any:
    made = table("stage", "engine", "steps", "cores", "MiB: memory, scratch, shm", "core time", "from")
    for row in rows:
        sizes = f"{row['memory_mib']}, {row['scratch_mib']}, {row['shm_mib']}"
        add_row(
            made, row["stage"], row["engine"], _count(row["steps"]), str(row["cores"]), sizes,
            duration(row["core_s"]), row["basis"],
        )  # fmt: skip
    return made


def _count(pair: list[int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"


def _lines(found: dict[str, Any]) -> list[str]:
    hours, wall, fleet = found["core_hours"], found["wall_s"], found["workers"]
    total = "unknown for your own input" if hours is None else f"about {hours:.3g} core hours"
    lines = [f"cost: {_count(found['steps'])} steps, {total}"]
    if not fleet["count"]:
        lines.append("time: no worker runs that may take this job")
    elif wall is not None:
        lines.append(f"time: {duration(wall[0])} to {duration(wall[1])} on {fleet['cores']} cores, if they are free")
    if found["ahead"]:
        ahead = "1 step is" if found["ahead"] == 1 else f"{found['ahead']} steps are"
        lines.append(f"queue: {ahead} ready before it")
    if fleet["unmet"]:
        lines.append(f"no worker can run it: {fleet['unmet']}")
    if found["computed_before"]:
        jobs = ", ".join(row["job"] for row in found["computed_before"])
        lines.append(f"computed before: {jobs}; `qmrunner result {found['computed_before'][0]['job']}` shows it")
    return lines
