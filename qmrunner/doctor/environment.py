"""The environment of engines: conflicts, and the variables of one engine for `doctor --env`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qmrunner.attempt.directory import AttemptDirectory, paths
from qmrunner.attempt.environment import FOLDERS, Change, Composed, compose, dropped_in_words, why_dropped
from qmrunner.doctor.finding import Finding, ok, warn
from qmrunner.engines.base import Context, Engine, Installed
from qmrunner.guardian.process_tree import MARKER
from qmrunner.model.jobs import Grant
from qmrunner.model.packing import Capacity
from qmrunner.settings import Settings

# Ids as they look, for folders as long as they get.
_EXAMPLE = ("abcdefgh", "shielding-c10", 10)


def conflicts(environment: Mapping[str, str], apps: bool) -> Finding:
    """Variables of this process that conflict with the needs of engines, and their replacement. `apps`: this worker
    runs Huey applications, which may need them: their tasks keep them."""
    lost = [Change(name, environment[name], None, why) for name in environment if (why := why_dropped(name))]
    path = environment.get("XTBPATH")
    words = dropped_in_words(lost)
    if path:
        words.append(f"XTBPATH={path} is used only if no parameter files are next to the xtb program")
    words += [
        f"{name} gets its missing trailing slash"
        for name in FOLDERS
        if environment.get(name, "/")[-1:] not in ("/", "")
    ]
    data = {"names": sorted(change.name for change in lost)}
    if words and apps:
        text = f"replaced for engines, not for tasks of Huey applications: {'; '.join(words)}"
        return ok("environment", text, **data)
    if words:
        remedy = "unset them; `qmrunner doctor --env nwchem` shows what engines get instead"
        return warn("environment", "environment_conflict", f"replaced for engines: {'; '.join(words)}", remedy, **data)
    return ok("environment", "no variable conflicts with the needs of engines", **data)


def example_folder(settings: Settings) -> AttemptDirectory:
    """The longest possible folder of an attempt."""
    return AttemptDirectory(Path(paths(settings).directory(*_EXAMPLE)))


def environment_of(
    engine: Engine, installed: Installed, settings: Settings, capacity: Capacity, inherited: Mapping[str, str]
) -> Composed:
    """The environment of an attempt on all cores, under a daemon with the environment `inherited`."""
    job, step, number = _EXAMPLE
    work = example_folder(settings).work
    grant = Grant(capacity.cores, capacity.memory_mib, 0, 0)
    wanted = engine.environment(Context(work, {}, grant, installed))
    return compose(inherited, wanted, work, f"{job}/{step}/{number}")


def report(engine: str, composed: Composed) -> dict[str, Any]:
    """For `--json`: all variables set, the changes, and the names of those passed on."""
    changed = {change.name for change in composed.changes}
    return {
        "engine": engine,
        "set": {c.name: c.now for c in composed.changes if c.now is not None},
        "changes": [{"name": c.name, "was": c.was, "now": c.now, "why": c.why} for c in composed.changes],
        "passed_on": sorted(set(composed.variables) - changed - {MARKER}),
    }
