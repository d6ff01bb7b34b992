"""Start the pilots that the open steps of a store need."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmrunner.app import App
from qmrunner.slurm import batch, pilots
from qmrunner.slurm.batch import PilotNotStarted
from qmrunner.slurm.pilots import SlurmPilot
from qmrunner.slurm.site import Site
from qmrunner.store import open_steps


@dataclass(slots=True)
class Started:
    """What was found and done. `job` is the id of the new pilots, of which there are `count`; `problem` is set when
    fewer were started than wanted, although pilots work."""

    job: str | None = None
    count: int = 0
    successor: bool = False
    known: list[SlurmPilot] = field(default_factory=list)
    problem: PilotNotStarted | None = None


def start(app: App, site: Site, most: int) -> Started:
    """Start pilots for the unfinished jobs of the store, at most `most` in all. Call after a job was stored.

    Raises PilotNotStarted when there is work and no pilot.
    """
    with app.store.read() as connection:
        useful = pilots.useful_cores(open_steps.demands(connection, app.settings.labels), site.cores, most * site.cores)
    made = Started()
    if not useful:
        return made
    made.known = batch.queued(site.name)
    need = pilots.needed(made.known, useful, site.cores, most)
    works = any(pilot.stuck is None for pilot in made.known)
    try:
        if need.new:
            made.job, made.count = _start_new(site, need.new)
        elif need.successor:
            made.job = batch.start_successor(site.name, site.logs, site.options, site.environment)
            made.count, made.successor = 1, True
    except PilotNotStarted as problem:
        if not works:
            raise
        made.problem = problem
    return made


def _start_new(site: Site, count: int) -> tuple[str, int]:
    """Start so many pilots, or one where a limit of the cluster refuses the array."""
    try:
        return batch.start(site.name, site.logs, site.options, site.environment, count), count
    except PilotNotStarted:
        if count == 1:
            raise
    return batch.start(site.name, site.logs, site.options, site.environment, 1), 1
