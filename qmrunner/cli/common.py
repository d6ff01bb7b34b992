"""What several commands share: options, output, and the app."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from qmrunner.app import App

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "held": "magenta",
    "running": "cyan",
    "claimed": "cyan",
    "active": "green",
    "draining": "yellow",
}


def open_app(*, busy_seconds: float = 5.0) -> App:
    """The app on an existing home. Raises NotReadyError when there is no usable store."""
    from qmrunner import app

    opened = app.build(busy_seconds=busy_seconds)
    opened.open_store(create=False)
    return opened


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def coloured(state: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{state}[/]" if colour else state


def duration(seconds: float | None) -> str:
    """For people: 8.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def elapsed(started_at: str | None, finished_at: str | None) -> float | None:
    """Seconds between two ISO times, or until now."""
    from datetime import UTC, datetime

    if started_at is None:
        return None
    end = datetime.fromisoformat(finished_at) if finished_at else datetime.now(UTC)
    return (end - datetime.fromisoformat(started_at)).total_seconds()


def progress_text(progress: dict[str, Any]) -> str:
    """One line: phase, step, energy, gradient."""
    if not progress:
        return ""
    parts = [str(progress["phase"])] if progress.get("phase") else []
    if progress.get("iteration") is not None:
        parts.append(f"step {progress['iteration']}")
    if progress.get("energy_hartree") is not None:
        parts.append(f"E {progress['energy_hartree']:.6f} Eh")
    if progress.get("gradient") is not None:
        parts.append(f"gradient {progress['gradient']:.5f}")
    if progress.get("residual") is not None:
        parts.append(f"residual {progress['residual']:.1e}")
    return "  ".join(parts) or str(progress.get("text", ""))
