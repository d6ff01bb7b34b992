"""What must be 0 after a chaos run: read from rows, files and /proc, once everything is quiet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select

from qmrunner.app import App
from qmrunner.guardian import process_tree
from qmrunner.model.states import ATTEMPT_LIVE, JOB_FINAL
from qmrunner.store.tables import attempts, events, jobs, reservations, steps
from tests.support import Home

COUNTERS = ("lost", "stuck", "duplicated", "stale", "incomplete", "wronged", "overlapping", "surviving", "leaked")


def check(home: Home, acknowledged: Iterable[str], harmed: Iterable[str]) -> dict[str, list[str]]:
    """Findings by counter. `harmed` are jobs whose engine was hit directly: those may have failed honestly."""
    found: dict[str, list[str]] = {name: [] for name in COUNTERS}
    app = App(home.settings)
    try:
        with app.store.read() as connection:
            job_rows = connection.execute(select(jobs)).all()
            step_rows = connection.execute(select(steps)).all()
            attempt_rows = connection.execute(select(attempts)).all()
            held = connection.execute(select(reservations)).all()
            succeeded = connection.execute(
                select(events.c.job_id, events.c.step).where(events.c.event == "attempt_succeeded")
            ).all()
    finally:
        app.close()
    known = {row.id for row in job_rows}
    found["lost"] += [f"{job}: acknowledged, but not stored" for job in set(acknowledged) - known]
    found["stuck"] += [f"{row.id}: {row.state} ({row.summary})" for row in job_rows if row.state not in JOB_FINAL]
    found["stuck"] += [f"step {row.step_id} attempt {row.attempt}: still holds resources" for row in held]
    found["stuck"] += [f"{row.marker}: {row.state}" for row in attempt_rows if row.state in ATTEMPT_LIVE]
    wins = [(row.job_id, row.step) for row in succeeded]
    found["duplicated"] += [f"{job}/{step}" for job, step in set(wins) if wins.count((job, step)) > 1]
    may_fail = set(harmed)
    for row in job_rows:
        if row.state == "failed" and row.id not in may_fail:
            found["wronged"].append(f"{row.id}: failed with {row.code}: {row.summary}")
    for row in step_rows:
        folder = home.settings.jobs_root / row.job_id / row.name
        if row.state == "succeeded":
            found_here = _published(folder, row.attempt)
            if found_here:
                found["incomplete" if "missing" in found_here else "stale"].append(f"{row.job_id}: {found_here}")
        elif folder.exists():
            found["stale"].append(f"{row.job_id}/{row.name}: {row.state}, but published")
    for row in job_rows:
        if row.state == "succeeded" and not (home.settings.jobs_root / row.id / "result.json").is_file():
            found["incomplete"].append(f"{row.id}: result.json is missing")
    found["surviving"] += [
        f"{pid} {marker}" for pid, marker in process_tree.marked().items() if marker.split("/")[0] in known
    ]
    found["surviving"] += [f"{pid} of this home" for pid in home.processes()]
    found["leaked"] += _leaks(home, {row.id for row in job_rows if row.state in ("succeeded", "cancelled")})
    return found


def _published(folder: Path, attempt: int) -> str | None:
    """What is wrong with the files of a step whose committed attempt is the given one."""
    for name in ("energy", "result.json", "output.log"):
        if not (folder / name).is_file():
            log = folder / "output.log"
            ended = log.read_text(errors="replace")[-200:] if log.is_file() else None
            return f"{folder.name}/{name} is missing; its log ends {ended!r}"
    wrote = int((folder / "energy").read_text().strip().rsplit("/", 1)[1])
    told = re.findall(r"^started \d+ \S+/(\d+)$", (folder / "output.log").read_text(), re.M)
    if {wrote, *map(int, told)} != {attempt}:
        return f"attempt {attempt} is committed, {wrote} is published, {told} wrote the log"
    json.loads((folder / "result.json").read_text())
    return None


def _leaks(home: Home, over: set[str]) -> list[str]:
    s = home.settings
    found = [str(path) for job in sorted(over) if (path := s.scratch_root / job).exists()]
    found += [str(path) for path in s.scratch_root.rglob(".removing-*")]
    found += [str(path) for path in s.jobs_root.glob("*/.*")]
    return found + [str(path) for path in s.run_root.glob("tails/*~*")]
