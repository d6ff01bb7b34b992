"""What several commands share: options, output, and the app."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmrunner.masking import mask, mask_all
from qmrunner.model import text, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from qmrunner.app import App
    from qmrunner.settings import Settings

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, or of its Huey task.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# Phases with a separate count, and what is counted.
_COUNTED = {
    "scf": "SCF iteration",
    "response": "response iteration",
    "shielding": "shielding of atom",
    "metadynamics": "metadynamics cycle",
}
_WITH_RESIDUAL = ("scf", "response")
_PLAIN = {"gradient": "computing the gradient", "scf": "SCF starts", "response": "response starts"}
_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "held": "magenta",
    "running": "cyan",
    "interrupted": "yellow",
    "claimed": "cyan",
    "active": "green",
    "draining": "yellow",
}


# Thresholds of garbage collection of a command that runs for long: those of Python, where `main` sets higher ones.
LONG_RUNNING = (700, 10, 10)


def build_app(settings: Settings | None = None, *, busy_seconds: float = 30.0) -> App:
    """The app of a command; it is closed when the command ends."""
    import click

    from qmrunner import app

    built = app.build(settings, busy_seconds=busy_seconds)
    command = click.get_current_context(silent=True)
    if command is not None:
        command.call_on_close(built.close)
    return built


def open_app(settings: Settings | None = None, *, busy_seconds: float = 5.0) -> App:
    """The app on an existing home. Raises NotReadyError when there is no usable store."""
    opened = build_app(settings, busy_seconds=busy_seconds)
    opened.open_store(create=False)
    return opened


def report(
    name: str, job: str | None = None, step: str | None = None, opening: Callable[[Settings], App] = open_app
) -> Any:
    """The report of `reports.named`: from this home's worker, else from the store, on the app of `opening`."""
    from qmrunner import settings as all_settings
    from qmrunner.reports import remote

    settings = all_settings.load()
    answer = remote.ask(settings, name, job, step)
    if answer is not None:
        return answer
    from qmrunner.reports import named

    return named.make(opening(settings), name, job, step)


def job_state(job: Mapping[str, Any]) -> str:
    """The state of a job as printed: `interrupted` if it is running and nothing of it runs."""
    return "interrupted" if job["interrupted"] else str(job["state"])


def job_named(app: App, name: str) -> str:
    """The id of the job that a user means: by its own id, or by that of its Huey task."""
    from qmrunner.store import huey_jobs

    with app.store.read() as connection:
        return huey_jobs.job_named(connection, name)


def login_name() -> str:
    """The owner whose fair share a job counts against, and the person behind an action.

    It is the name of the user id, not what the environment claims.
    """
    import os
    import pwd

    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a container's user without an entry in /etc/passwd
        return f"uid {user}"


def say(text: str, *, err: bool = False) -> None:
    """Print lines with control characters escaped and passwords masked."""
    print(shown(text), file=sys.stderr if err else sys.stdout, flush=True)


def shown(text: str) -> str:
    return visible.lines(mask(text))


def print_json(value: Any) -> None:
    """Print JSON in ASCII; every text is as stored, except that passwords are masked."""
    print(visible.dumps(mask_all(value), indent=2), flush=True)


def console() -> Console:
    """A console that prints plain text without markup or emoji names, passed through `shown`."""
    from rich.console import Console

    class Shown(Console):
        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(shown(text), **how)

    return Shown(highlight=False, soft_wrap=True, markup=False, emoji=False)


def styled(*parts: str | tuple[str, str] | Text) -> Text:
    """A text for rich, with styles only where a part names one; a value is never parsed as markup."""
    from rich.text import Text

    made = Text()
    for part in parts:
        if isinstance(part, Text):
            made.append_text(part)
        else:
            text, style = part if isinstance(part, tuple) else (part, "")
            made.append(shown(text), style or None)
    return made


def table(*headings: str) -> Table:
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def add_row(made: Table, *cells: str | Text) -> None:
    made.add_row(*(styled(cell) for cell in cells))


def coloured(state: str) -> Text:
    return styled((state, _COLOURS.get(state, "")))


def duration(seconds: float | None) -> str:
    """For people: 8.2 s, 3 min 05 s, 2 h 10 min."""
    return "-" if seconds is None else text.duration(seconds, 1)


def elapsed(started_at: str | None, finished_at: str | None) -> float | None:
    """Seconds between two ISO times, or until now."""
    from datetime import UTC, datetime

    if started_at is None:
        return None
    end = datetime.fromisoformat(finished_at) if finished_at else datetime.now(UTC)
    return (end - datetime.fromisoformat(started_at)).total_seconds()


def progress_text(progress: dict[str, Any], known_step: int | None = None) -> str:
    """One line: optimisation step, energy, last gradient and current phase.

    Values of earlier lines stay in `progress`, so each is shown only in the phases where it still holds. `known_step`
    is the optimisation step from an earlier poll, for phases that do not report it.
    """
    phase = progress.get("phase")
    if not phase:
        return str(progress.get("text", ""))
    step = working_step(progress)
    step = known_step if step is None else step
    parts = [] if step is None else [f"step {step}"]
    if progress.get("energy_hartree") is not None:
        parts.append(f"E {progress['energy_hartree']:.6f} Eh")
    if progress.get("gradient") is not None:
        parts.append(f"gradient {progress['gradient']:.5f}")
    return "  ".join([*parts, *_busy_with(phase, progress, bool(parts))])


def outlook_text(progress: dict[str, Any]) -> str:
    """The forecast of the time left and a warning about a stall; empty where nothing is known."""
    left = f"  {progress['left']}" if progress.get("left") else ""
    return left + (f"  no progress: {progress['stillness']}" if progress.get("stillness") else "")


def step_text(step: dict[str, Any]) -> str:
    """Progress of a step of `status JOB`: of an ended one only the energy, because the rest is out of date."""
    if step["state"] in ("claimed", "running"):
        return progress_text(step["progress"]) + outlook_text(step["progress"])
    if step.get("waits_for"):
        return f"waits for {step['waits_for']}"
    energy = step["progress"].get("energy_hartree")
    return "" if energy is None else f"E {energy:.6f} Eh"


def working_step(progress: dict[str, Any]) -> int | None:
    """The current optimisation step, where this progress reports it."""
    if progress.get("phase") == "optimisation":
        return progress.get("iteration")
    done = re.match(r"after step (\d+):", str(progress.get("text", "")))
    return int(done[1]) + 1 if done else None


def _busy_with(phase: str, progress: dict[str, Any], more: bool) -> list[str]:
    if phase == "optimisation":
        return [] if more else [phase]
    word = _COUNTED.get(phase)
    stale = phase in _WITH_RESIDUAL and "iteration" not in str(progress.get("text"))
    if word and not stale and progress.get("iteration") is not None:
        text = f"{word} {progress['iteration']}"
        if phase in _WITH_RESIDUAL and progress.get("residual") is not None:
            text += f", residual {progress['residual']:.1e}"
    else:
        text = _PLAIN.get(phase, phase)
    if progress.get("fraction") is not None:
        text += f" {progress['fraction']:.0%}"
    return [text]
