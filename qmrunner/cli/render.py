"""Print results and failures to a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qmrunner.cli.common import add_row, styled
from qmrunner.model import visible
from qmrunner.model.units import KCAL_PER_HARTREE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_INDENT = 10
_PIPED_WIDTH = 1000
# The source of a scaling line names the number of its shifts, which is printed next to the formula.
_COUNT = re.compile(r"(?<=over )\d+ shifts of | over \d+ shifts(?=;)")


def show_result(out: Console, result: dict[str, Any]) -> None:
    """Print the table of shifts or the results of a program, and the paths of the files."""
    from qmrunner.cli import notebook
    from qmrunner.reports import quantity_tables

    result = visible.fields(result)
    out.print(styled((f"{result['kind']} job {result['id']}", "bold"), _headline(result)))
    output = result.get("result") or {}
    search = output or result.get("provenance", {}).get("conformers") or {}
    if result.get("shifts"):
        _shift_tables(out, result)
    if len(result.get("conformers") or []) > 1:
        _conformer_table(out, result)
    _search_lines(out, search)
    grids, others = quantity_tables.of_result(result)
    for grid in grids:
        out.print(notebook.drawn(grid))
    for key, value in others:
        out.print(styled(f"  {key}: {value}"))
    for remedy in (result.get("provenance") or {}).get("remedies") or ():
        kind = "" if remedy["neutral"] else "; this can alter the answer"
        _paragraph(out, "remedy:", f"{remedy['step']}: {remedy['change']} (after {remedy['code']}{kind})")
    for text in result.get("notes") or ():
        if text not in (search.get("notes") or ()):  # printed above
            _paragraph(out, "note:", text)
    out.print(styled(f"{'files:':<{_INDENT}}{result['folder']}"))
    for name in result["files"]:
        if "/" not in name:
            out.print(styled(" " * _INDENT + name))
    if result.get("files_missing"):
        _paragraph(out, "missing:", f"{', '.join(result['files_missing'])} could not be fetched; see `qmrunner doctor`")
    folders = sorted({name.split("/")[0] for name in result["files"] if "/" in name})
    if folders:
        out.print(styled(" " * _INDENT + ", ".join(f"{name}/" for name in folders)))


def _headline(result: dict[str, Any]) -> str:
    parts = [f"{key} {result[key]}" for key in ("level", "solvent") if result.get(key)]
    if result.get("energy_hartree") is not None:
        parts.append(f"energy {result['energy_hartree']:.6f} Eh")
    return f"  ({', '.join(parts)})" if parts else ""


def _shift_tables(out: Console, result: dict[str, Any]) -> None:
    from rich.table import Table

    for nucleus in ("1H", "13C"):
        rows = [row for row in result["shifts"] if row["nucleus"] == nucleus]
        if not rows:
            continue
        with_error = any(row.get("uncertainty_ppm") is not None for row in rows)
        table = Table(title=f"\n{nucleus} shifts", title_justify="left", box=None, pad_edge=False)
        for heading in ("atom", "shift / ppm", *(["± / ppm"] if with_error else []), "shielding / ppm"):
            table.add_column(heading, justify="right")
        with_kind = any(row.get("kind") for row in rows)
        if with_kind:
            table.add_column("kind of atom")
        table.add_column("average of", justify="right")
        for row in sorted(rows, key=lambda row: -row["shift_ppm"]):
            error, group = row.get("uncertainty_ppm"), row.get("equivalent_atoms") or []
            add_row(
                table,
                f"{row.get('symbol', '')}{row['atom']}",
                f"{row['shift_ppm']:.2f}",
                *(["-" if error is None else f"{error:.2f}"] if with_error else []),
                f"{row['shielding_ppm']:.2f}",
                *([row.get("kind") or "-"] if with_kind else []),
                ", ".join(str(atom) for atom in group) if len(group) > 1 else "",
            )
        out.print(table)
    _scaling_lines(out, result.get("provenance", {}).get("scaling") or {})


def _scaling_lines(out: Console, scaling: dict[str, Any]) -> None:
    """The scaling of shieldings to shifts and its accuracy; text shared by both nuclei is printed once."""
    lines = {nucleus: line for nucleus, line in scaling.items() if isinstance(line, dict) and line.get("source")}
    if not lines:
        return
    out.print()
    for nucleus, line in lines.items():
        formula = f"shift = {line['intercept_ppm']:.4f} - {-line['slope']:.6f} x shielding"
        error = "" if line.get("rmsd_ppm") is None else f", RMSD {line['rmsd_ppm']:.2f} ppm"
        count = f" over {line['points']} shifts" if line.get("points") else ""
        out.print(styled(f"{f'{nucleus} line:':<{_INDENT}}{formula}{error}{count}"))
    for key in ("source", "method", "note"):
        texts = (_COUNT.sub("", line[key]) for line in lines.values() if line.get(key))
        for text in dict.fromkeys(texts):
            _paragraph(out, f"{key}:", text)


def _conformer_table(out: Console, result: dict[str, Any]) -> None:
    """Kept conformers first, lowest energy first; a dropped one is compared at the stage that dropped it."""
    from rich.table import Table

    rows = [{"id": number, **row} for number, row in enumerate(result["conformers"], start=1)]
    energies = [row["energy_hartree"] for row in rows if row.get("energy_hartree") is not None]
    weighed = any(row.get("weight") is not None for row in rows)
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "kcal/mol", *(("weight", "degeneracy") if weighed else ("energy / Eh",))):
        table.add_column(heading, justify="right")
    columns = ("state", *(["reason"] if any(row.get("reason") for row in rows) else [])) if weighed else ()
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for row in sorted(rows, key=lambda row: (row.get("state") == "dropped", _above(row, energies) or 0.0)):
        above, weight = _above(row, energies), row.get("weight")
        cells = [str(row["id"]), "-" if above is None else f"{above:.2f}"]
        if weighed:
            cells += ["-" if weight is None else f"{weight:.3f}", str(row.get("degeneracy", 1)), str(row["state"])]
        else:
            cells.append("-" if row.get("energy_hartree") is None else f"{row['energy_hartree']:.6f}")
        add_row(table, *cells, *([row.get("reason") or ""] if "reason" in columns else []))
    out.print(styled("\n", (_conformer_title(result, weighed), "italic")))
    before, out.width = out.width, _width(out)
    out.print(table, soft_wrap=False)
    out.width = before


def _width(out: Console) -> int:
    """Fold long cells on a terminal; elsewhere keep one line per row, because programs may read it."""
    return out.width if out.is_terminal else _PIPED_WIDTH


def _conformer_title(result: dict[str, Any], weighed: bool) -> str:
    provenance = result.get("provenance", {})
    temperature = provenance.get("temperature_k") or provenance.get("conformers", {}).get("temperature_k")
    partial = provenance.get("conformers", {}).get("partial") or result.get("result", {}).get("partial")
    at = f", weights at {temperature:g} K" if weighed and temperature else ""
    of = " by GFN2-xTB" if result["kind"] == "conformers" else ""
    return f"conformers{of}{at}{' (partial ensemble)' if partial else ''}"


def _above(row: dict[str, Any], energies: Sequence[float]) -> float | None:
    """kcal/mol above the lowest conformer, from the stage that ranked it."""
    if row.get("relative_kcal_mol") is not None:
        return float(row["relative_kcal_mol"])
    if row.get("energy_hartree") is None or row.get("state") == "dropped":
        return None
    return float(row["energy_hartree"] - min(energies)) * KCAL_PER_HARTREE


def _search_lines(out: Console, search: dict[str, Any]) -> None:
    """Notes on the source of the conformers."""
    for dropped in search.get("dropped") or ():
        _paragraph(out, "search:", f"{dropped['count']} structures dropped: {dropped['reason']}")
    notes = [search.get("conformers_note"), *(search.get("notes") or ())]
    for text in filter(None, notes):
        _paragraph(out, "note:", text)


def _paragraph(out: Console, word: str, text: str) -> None:
    """`word` and `text`; on a terminal folded under itself, else one line."""
    blank = " " * _INDENT
    lines = textwrap.wrap(text, max(_width(out) - 1, 40), initial_indent=f"{word:<{_INDENT}}", subsequent_indent=blank)
    out.print(styled("\n".join(lines)))


def _uses(running: dict[str, Any]) -> str:
    """Resources used and granted of a running step, as far as known on this machine."""
    parts = [f"{running['step']} #{running['attempt']}"]
    if running.get("cores"):
        parts.append(f"{running['cores']} core{'s' if running['cores'] > 1 else ''}")
    if running.get("cpu_s") is not None and running.get("elapsed_s"):
        parts.append(f"{running['cpu_s']:.0f} s of CPU time in {running['elapsed_s']:.0f} s")
    if running.get("memory_mib") is not None:
        parts.append(f"{running['memory_mib']:.0f} of {running['memory_granted_mib']} MiB memory")
    if running.get("scratch_mib") is not None:
        parts.append(f"{running['scratch_mib']:.0f} MiB scratch")
    return ", ".join(parts)


_DECK_WIDTH = 200


def show_why(out: Console, why: dict[str, Any]) -> None:
    """Cause, evidence, remedy, attempts, next action."""
    evidence = why.get("evidence")
    if evidence:  # join its lines
        why = {**why, "evidence": {**evidence, "text": re.sub(r"[ \t\n]+", " ", evidence["text"]).strip()}}
    if why.get("deck"):  # keep its tabs
        lines = [{**line, "text": line["text"].expandtabs()} for line in why["deck"]["lines"]]
        why = {**why, "deck": {**why["deck"], "lines": lines}}
    why = visible.fields(why)
    for line in _lines_of_why(why):
        out.print(line)


def _lines_of_why(why: dict[str, Any]) -> Iterator[Text]:
    yield styled((why["id"], "bold"), f": {why['state']}")
    yield styled(f"  {why['summary']}")
    for running in why.get("running") or ():
        yield styled(f"  uses:     {_uses(running)}")
    if why.get("code"):
        kind = f" ({why['class']})" if why.get("class") else ""
        yield styled(f"  code:     {why['code']}{kind}")
    evidence = why.get("evidence")
    if evidence:
        place = f"  [{evidence['file']}:{evidence['line']}]" if evidence.get("line") else ""
        yield styled(f"  evidence: {evidence['text']}{place}")
    deck = why.get("deck")
    if deck:
        yield styled(f"  deck:     {deck['file']}, line {deck['line']}")
        for line in deck["lines"]:
            mark = ">" if line["line"] == deck["line"] else " "
            yield styled(f"          {mark} {line['line']:4d}: {line['text'][:_DECK_WIDTH]}")
    if why.get("remedy"):
        yield styled(f"  remedy:   {why['remedy']}")
    for attempt in why["attempts"]:
        code = f" {attempt['code']}" if attempt["code"] and attempt["code"] not in ("ok", attempt["state"]) else ""
        yield styled(f"  attempt:  {attempt['step']} #{attempt['attempt']} {attempt['state']}{code}")
        resumed = [note for note in attempt["notes"] if note.startswith("resume: ")]
        for note in [*attempt["changed"], *resumed]:
            yield styled(f"            with {note}")
    logs = [attempt["log"] for attempt in why["attempts"] if attempt["state"] == "failed" and attempt["log"]]
    if logs:
        yield styled(f"  log:      {logs[-1]}")
    if why.get("next"):
        yield styled(f"  next:     {why['next']}")
