"""`qmrunner result --measured` and `--report`: measured peaks beside computed shifts, and the report as a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner.cli.common import add_row, say, styled, table
from qmrunner.model import visible

if TYPE_CHECKING:
    from rich.console import Console

    from qmrunner.app import App

_DIGITS = {"1H": 2, "13C": 1}


def kept(app: App, job: str, source: str) -> dict[str, Any]:
    """Keep the peaks of a file (``-``: standard input) with the job; returns their comparison. Raises UsageError."""
    from qmrunner.reports import measured

    return measured.keep(app, job, _text(source), None, None)


def _text(source: str) -> str:
    from qmrunner import private
    from qmrunner.chemistry.peaks import MOST_CHARACTERS
    from qmrunner.errors import UsageError

    try:
        with private.as_started():
            if source == "-":
                data = sys.stdin.buffer.read(4 * MOST_CHARACTERS + 4)
            else:
                with open(source, "rb") as file:
                    data = file.read(4 * MOST_CHARACTERS + 4)
    except OSError as problem:
        raise UsageError(
            "cannot_read",
            f"the measured peaks could not be read from {source}",
            evidence=str(problem),
            remedy="name a text file, or - for standard input",
        ) from None
    return data.decode(errors="replace")


def show(out: Console, seen: Mapping[str, Any]) -> None:
    """Print the comparison: a table for each nucleus, the figures, and what they mean."""
    seen = visible.fields(dict(seen))
    for compared in seen["comparisons"]:
        _show_nucleus(out, compared)
    for text in seen["problems"]:
        out.print(styled(f"note:     {text}"))


def _show_nucleus(out: Console, compared: Mapping[str, Any]) -> None:
    digits = _DIGITS[compared["nucleus"]]
    rows = table("atoms", "computed", "±", "measured", "difference", "")
    for row in compared["signals"]:
        remarks = [
            *(["exchangeable"] if row["exchangeable"] else []),
            *(["assigned by you"] if row["fixed"] else []),
            *(["shared peak"] if row["shared"] else []),
        ]
        add_row(
            rows, row["label"], f"{row['shift_ppm']:.{digits}f}", _number(row["uncertainty_ppm"], f".{digits}f"),
            _number(row["measured_ppm"], f".{digits}f"), _number(row["difference_ppm"], f"+.{digits}f"),
            ", ".join(remarks),
        )  # fmt: skip
    out.print(styled((f"\n{compared['nucleus']} against measured peaks, ppm", "bold")), rows)
    for name, figures in compared["statistics"].items():
        if figures is not None and (name == "all" or figures != compared["statistics"]["all"]):
            whose = "all" if name == "all" else "without exchangeable"
            out.print(
                styled(
                    f"{whose}: MAE {figures['mae_ppm']:.{digits + 1}f}  RMSD {figures['rmsd_ppm']:.{digits + 1}f}  "
                    f"largest {figures['largest_ppm']:+.{digits + 1}f} at {figures['largest_at']}"
                )
            )
    aside = [f"{peak['ppm']:g} ({peak['line_of']})" for peak in compared["aside"]]
    lone = [f"{peak['ppm']:g}" for peak in compared["unassigned"]]
    for text in (
        *compared["sentences"],
        *([f"set aside: {', '.join(aside)}"] if aside else []),
        *([f"peaks without a signal: {', '.join(lone)}"] if lone else []),
        *compared["problems"],
    ):
        out.print(styled(text))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def write_report(app: App, job: str, target: str) -> None:
    """Write `report.html` of the job to a file. Raises UsageError `cannot_write`."""
    from qmrunner import private
    from qmrunner.errors import UsageError
    from qmrunner.reports import html_report

    page = html_report.render(app, job)
    try:
        with private.as_started():
            Path(target).write_text(page, encoding="utf-8")
    except OSError as problem:
        raise UsageError(
            "cannot_write",
            f"the report could not be written to {target}",
            evidence=str(problem),
            remedy="choose another --report",
        ) from None
    say(f"wrote {target}", err=True)
