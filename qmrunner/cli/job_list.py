"""`status --where`: the jobs of a query, and their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmrunner.cli.common import add_row, coloured, console, duration, elapsed, job_state, print_json, table
from qmrunner.cli.selection import filter_of
from qmrunner.model import visible

if TYPE_CHECKING:
    from rich.table import Table

    from qmrunner.app import App


def found_jobs(app: App, where: str, limit: int, as_json: bool) -> None:
    """Print the newest jobs that meet the query, at most `limit`, and how many meet it in each state."""
    from qmrunner.reports import jobs

    found = jobs.page(app, limit, filter_of(app, where), count=True)
    if as_json:
        print_json(found)
        return
    found = visible.fields(found)
    out, counted = console(), found["count"]
    if found["jobs"]:
        out.print(job_table(found["jobs"]))
    of = ", ".join(f"{number} {state}" for state, number in counted["states"].items())
    more = "more than " if counted["more"] else ""
    out.print(f"{more}{counted['total']} job(s)" + (f"; in all states: {of}" if of else ""))


def job_table(rows: list[dict[str, Any]]) -> Table:
    """A table with a line for each job."""
    jobs = table("job", "kind", "state", "progress", "elapsed", "name")
    for row in rows:
        text = row["summary"] if row["state"] in ("failed", "held", "cancelled") else row["progress"].get("text")
        if row["interrupted"]:
            text = row["interrupted"]["summary"]
        add_row(
            jobs, row["id"], row["kind"], coloured(job_state(row)), text or "",
            duration(elapsed(row["started_at"], row["finished_at"])), row["name"] or "",
        )  # fmt: skip
    return jobs
