"""Showing results and failures in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def show_result(out: Console, result: dict[str, Any]) -> None:
    """A table of shifts or of what a program found, and where the files are."""
    out.print(f"[bold]{result['kind']} job {result['id']}[/]" + _headline(result))
    if result.get("shifts"):
        _shift_tables(out, result)
    if len(result.get("conformers") or []) > 1:
        _conformer_table(out, result["conformers"])
    said = result.get("result") or {}
    for key, value in said.items():
        if isinstance(value, str | int | float | bool) and key != "energy_hartree":
            out.print(f"  {key}: {value}", markup=False)
    for one in (result.get("provenance") or {}).get("remedies") or ():
        kind = "" if one["neutral"] else "; this can alter the answer"
        out.print(f"remedy:  {one['step']}: {one['change']} (after {one['code']}{kind})", markup=False)
    out.print(f"files:   {result['folder']}", markup=False)
    for name in result["files"]:
        if "/" not in name:
            out.print(f"         {name}", markup=False)
    folders = sorted({name.split("/")[0] for name in result["files"] if "/" in name})
    if folders:
        out.print(f"         {', '.join(f'{name}/' for name in folders)}", markup=False)


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
        for heading in ("atom", "shift / ppm", *(["± / ppm"] if with_error else []), "shielding / ppm", "average of"):
            table.add_column(heading, justify="right")
        for row in sorted(rows, key=lambda row: -row["shift_ppm"]):
            error, group = row.get("uncertainty_ppm"), row.get("equivalent_atoms") or []
            table.add_row(
                f"{row.get('symbol', '')}{row['atom']}",
                f"{row['shift_ppm']:.2f}",
                *(["-" if error is None else f"{error:.2f}"] if with_error else []),
                f"{row['shielding_ppm']:.2f}",
                ", ".join(str(atom) for atom in group) if len(group) > 1 else "",
            )
        out.print(table)
    _scaling_lines(out, result.get("provenance", {}).get("scaling") or {})


def _scaling_lines(out: Console, scaling: dict[str, Any]) -> None:
    """How shieldings became shifts; what both nuclei share is said once."""
    lines = {nucleus: line for nucleus, line in scaling.items() if isinstance(line, dict) and line.get("source")}
    parts = {nucleus: line["source"].partition("; ") for nucleus, line in lines.items()}
    if not parts:
        return
    out.print()
    out.print("scaling: " + "; ".join(f"{nucleus} by {part[0]}" for nucleus, part in parts.items()), markup=False)
    for source in dict.fromkeys(part[2] for part in parts.values() if part[2]):
        out.print(f"source:  {source}", markup=False)
    for note in dict.fromkeys(line["note"] for line in lines.values() if line.get("note")):
        out.print(f"note:    {note}", markup=False)


def _conformer_table(out: Console, conformers: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(title="conformers", title_justify="left", box=None, pad_edge=False)
    for heading in ("id", "energy / Eh", "weight", "state"):
        table.add_column(heading, justify="right")
    for row in conformers:
        energy, weight = row.get("energy_hartree"), row.get("weight")
        table.add_row(
            str(row.get("id", "")),
            "-" if energy is None else f"{energy:.6f}",
            "-" if weight is None else f"{weight:.3f}",
            str(row.get("state", "")),
        )
    out.print(table)


def _uses(running: dict[str, Any]) -> str:
    """What a running step uses of what it was granted, as far as it is known here."""
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


def show_why(out: Console, why: dict[str, Any]) -> None:
    """Cause, evidence, remedy, attempts, next action."""
    out.print(f"[bold]{why['id']}[/]: {why['state']}")
    out.print(f"  {why['summary']}", markup=False)
    for one in why.get("running") or ():
        out.print(f"  uses:     {_uses(one)}", markup=False)
    if why.get("code"):
        kind = f" ({why['class']})" if why.get("class") else ""
        out.print(f"  code:     {why['code']}{kind}", markup=False)
    evidence = why.get("evidence")
    if evidence:
        place = f"  [{evidence['file']}:{evidence['line']}]" if evidence.get("line") else ""
        out.print(f"  evidence: {' '.join(evidence['text'].split())}{place}", markup=False)
    if why.get("remedy"):
        out.print(f"  remedy:   {why['remedy']}", markup=False)
    for one in why["attempts"]:
        code = f" {one['code']}" if one["code"] and one["code"] not in ("ok", one["state"]) else ""
        out.print(f"  attempt:  {one['step']} #{one['attempt']} {one['state']}{code}", markup=False)
        resumed = [note for note in one["notes"] if note.startswith("resume: ")]
        for note in [*one["changed"], *resumed]:
            out.print(f"            with {note}", markup=False)
    logs = [one["log"] for one in why["attempts"] if one["state"] == "failed" and one["log"]]
    if logs:
        out.print(f"  log:      {logs[-1]}", markup=False)
    if why.get("next"):
        out.print(f"  next:     {why['next']}", markup=False)
