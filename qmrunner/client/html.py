"""What notebooks show: HTML without scripts, whose pictures are part of it. Every text of the server is escaped.

A picture is an image with a `data:` address: scripts in an SVG of a foreign server do not run there, and it loads
nothing from other hosts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape as escape_html
from typing import TYPE_CHECKING, Any

from qmrunner.model import visible

if TYPE_CHECKING:
    from qmrunner.client.result import Result

_MOST_ROWS = 60
_BOX = "border:1px solid #8886;border-radius:6px;padding:.6em .8em;max-width:60em"
_CELL = "padding:.1em .8em .1em 0;text-align:left"


def escape(text: str) -> str:
    """`text` as it may be in a page, with invisible characters shown."""
    return escape_html(visible.lines(text))


def job_html(data: Mapping[str, Any], result: Result | None = None) -> str:
    """A job, with its result if it is there."""
    name = f" {escape(str(data['name']))}" if data.get("name") else ""
    head = f"<b>{escape(str(data['kind']))}</b>{name} <code>{escape(data['id'])}</code> {escape(str(data['state']))}"
    progress = data.get("progress") or {}
    parts = [head]
    if data["state"] in ("queued", "running"):
        parts.append(bar(progress.get("fraction"), str(progress.get("text") or "")))
    elif data.get("code") or data.get("summary"):
        parts.append(escape(": ".join(str(data[key]) for key in ("code", "summary") if data.get(key))))
    if result is not None:
        parts.append(_body(result))
    return f'<div style="{_BOX}">{"<br>".join(parts)}</div>'


def jobs_html(rows: Sequence[Mapping[str, Any]], more: bool) -> str:
    """A list of jobs."""
    columns = ("id", "kind", "name", "state", "code")
    cells = [[str(row.get(column) or "") for column in columns] for row in rows[:_MOST_ROWS]]
    left = len(rows) - _MOST_ROWS
    note = f"<p>{left} more are not shown</p>" if left > 0 else ""
    return (
        _table(columns, cells) + note + ("<p>The server has older ones: raise <code>limit</code></p>" if more else "")
    )


def result_html(result: Result) -> str:
    """Structure, spectra and shifts; energies of other jobs."""
    return f'<div style="{_BOX}"><b>{escape(result.kind)}</b> <code>{escape(result.id)}</code><br>{_body(result)}</div>'


def bar(fraction: float | None, text: str) -> str:
    """A progress bar; without a fraction it shows only that work continues."""
    value = "" if fraction is None else f' value="{min(1.0, max(0.0, fraction)):.3f}"'
    return f'<progress max="1"{value} style="width:16em"></progress> {escape(text)}'


def _body(result: Result) -> str:
    parts = [_picture(name, svg) for name, svg in result.pictures.items()]
    if result.energy_hartree is not None:
        parts.append(f"<div>energy {result.energy_hartree:.6f} Eh</div>")
    if result.data["shifts"]:
        parts.append(f"<details><summary>shifts</summary>{_shifts(result)}</details>")
    kept = [row for row in result.data["conformers"] if row.get("weight") is not None]
    if len(kept) > 1:
        rows = [
            [str(row["id"]), f"{row.get('relative_kcal_mol') or 0.0:.2f}", f"{row['weight']:.3f}"]
            for row in sorted(kept, key=lambda row: -row["weight"])
        ]
        parts.append(
            f"<details><summary>{len(kept)} conformers</summary>{_table(('id', 'kcal/mol', 'weight'), rows)}</details>"
        )
    parts.extend(f"<div>note: {escape(note)}</div>" for note in result.notes)
    return "".join(parts)


def _shifts(result: Result) -> str:
    rows = [
        [
            f"{row['symbol']}{row['atom']}", f"{row['shift_ppm']:.{1 if row['nucleus'] == '13C' else 2}f}",
            "" if row["uncertainty_ppm"] is None else f"{row['uncertainty_ppm']:.2f}", str(row["kind"] or ""),
        ]
        for row in result.data["shifts"]
    ]  # fmt: skip
    return _table(("atom", "shift / ppm", "±", "kind"), rows)


def _picture(name: str, svg: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    size = "max-height:16em;max-width:100%;background:#fff;margin:.3em"
    return f'<img alt="{escape(name)}" style="{size}" src="data:image/svg+xml;base64,{data}">'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th style="{_CELL}">{escape(column)}</th>' for column in columns)
    lines = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    return f"<table><tr>{head}</tr>{lines}</table>"
