"""`report.html`: the result of an `nmr` job in one file, without scripts, for a browser or on A4 paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape as escape_html
from typing import Any

from qmrunner import __version__
from qmrunner.app import App
from qmrunner.chemistry import comparison, methods, picture, svg
from qmrunner.chemistry.spectrum_signals import atom_label
from qmrunner.model import visible
from qmrunner.reports import conformers, measured, status

_STYLE = """
:root{color-scheme:light dark;--ink:light-dark(#1b1f24,#e8eaed);--dim:light-dark(#57606a,#a0a8b2);
--paper:light-dark(#fff,#15181c);--line:light-dark(#c9d1d9,#3d444d);--blue:light-dark(#0b5cad,#79b8ff);
--red:light-dark(#b42318,#ff9d94)}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.4rem 0}
.dim{color:var(--dim)}.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}
th,td{text-align:right;padding:.15rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;vertical-align:bottom}th:first-child,td:first-child,.left{text-align:left}
td.text{white-space:normal;text-align:left}
.far{color:var(--red);font-weight:600}
.structure svg{max-width:26rem;max-height:20rem;width:100%}
svg.spectrum{width:100%;height:auto;font-size:11px}
svg.spectrum text{fill:currentColor}svg.spectrum .curve{fill:none;stroke:var(--blue);stroke-width:1.3}
svg.spectrum .stick line,svg.spectrum .axis line{stroke:currentColor}svg.spectrum .hit{fill:none}
svg.spectrum .band{fill:var(--blue);opacity:.3}svg.spectrum .hatch{stroke:var(--dim)}
svg.spectrum .loose{opacity:.5}
svg.spectrum .peak line{stroke:var(--red);stroke-width:1.5}svg.spectrum .peak .join{stroke-width:.7}
ol li,ul li{margin:.2rem 0}
@page{size:A4;margin:16mm}
@media print{body{margin:0;max-width:none;font-size:10.5pt}h2{break-after:avoid}tr,svg{break-inside:avoid}
.wide{overflow:visible}thead{display:table-header-group}}
"""
_FAR = ' class="far"'


def escape(text: str) -> str:
    """`text` as it may be in a page, with invisible characters shown."""
    return escape_html(visible.lines(text))


def render(app: App, job_id: str) -> str:
    """The report of a finished `nmr` job. Raises as `measured.nmr_result`."""
    result = measured.nmr_result(app, job_id)
    job = status.job_view(app, job_id)["job"]
    seen = measured.view_or_none(app, job_id)
    drawing = svg.inline(conformers.text_or_none(app, job_id, "structure.svg") or "")
    return page(result, job, seen, drawing, datetime.now(UTC))


def page(
    result: Mapping[str, Any],
    job: Mapping[str, Any],
    seen: Mapping[str, Any] | None,
    drawing: str | None,
    at: datetime,
) -> str:
    """The page. `seen` are the measured peaks (`measured.view`), `drawing` is markup from `svg.inline`."""
    title = f"{job['name'] or job['id']}: computed NMR shifts"
    compared = {each["nucleus"]: each for each in (seen or {}).get("comparisons", ())}
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">job {escape(job["id"])}, {escape(_about(result))}; computed '
        f"{escape(str(job['finished_at'] or '')[:10])}, report of {at:%Y-%m-%d} by qmrunner {escape(__version__)}</p>",
        f'<div class="structure">{drawing}</div>' if drawing else "",
        *(part for nucleus in comparison.NUCLEI for part in _nucleus(result, nucleus, compared.get(nucleus))),
        *_conformers(result),
        *_notes(result),
        *_texts(result),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _about(result: Mapping[str, Any]) -> str:
    kept = sum(row.get("state") == "kept" for row in result["conformers"])
    energy = result.get("energy_hartree")
    words = [f"level {result['level']}", str(result["solvent"]), f"{kept} conformer{'s' if kept != 1 else ''}"]
    return ", ".join([*words, *([f"energy {energy:.6f} Eh"] if energy is not None else [])])


def _nucleus(result: Mapping[str, Any], nucleus: str, compared: Mapping[str, Any] | None) -> Iterator[str]:
    drawn = picture.spectrum(result["shifts"], nucleus, compared)
    if drawn is None:
        return
    yield f"<h2>{nucleus}</h2>{drawn}"
    yield _shift_table(result, nucleus, compared)
    if compared is not None:
        yield from _figures(compared)


def _shift_table(result: Mapping[str, Any], nucleus: str, compared: Mapping[str, Any] | None) -> str:
    digits = comparison.DIGITS[nucleus]
    rows = [row for row in result["shifts"] if row["nucleus"] == nucleus]
    first = {int(row["atom"]): row for row in rows}
    shown = {tuple(row["atoms"]): row for row in (compared or {}).get("signals", ())}
    head = ["atoms", "shift / ppm", "± / ppm", *(["measured / ppm", "difference / ppm"] if compared else [])]
    lines = []
    for signal in comparison.signals_of(rows, nucleus):
        row, seen = first[signal.atoms[0]], shown.get(signal.atoms)
        cells = [
            atom_label(signal.atoms, str(row["symbol"])),
            f"{signal.ppm:.{digits}f}",
            _number(row.get("uncertainty_ppm"), f".{digits}f"),
        ]
        if compared:
            far = seen is not None and (seen["beyond"] or 0) > 2
            cells += [
                _number((seen or {}).get("measured_ppm"), f".{digits}f"),
                _number((seen or {}).get("difference_ppm"), f"+.{digits}f"),
            ]
        else:
            far = False
        kind = "exchangeable" if signal.exchanges else str(row.get("kind") or "")
        lines.append((cells, kind, far, f"{row['shielding_ppm']:.2f}"))
    body = "".join(
        f"<tr><td>{'</td><td>'.join(map(escape, cells[:-1]))}</td><td{_FAR if far else ''}>"
        f'{escape(cells[-1])}</td><td>{shielding}</td><td class="left">{escape(kind)}</td></tr>'
        for cells, kind, far, shielding in lines
    )
    return _table([*head, "shielding / ppm", "kind of atom"], body)


def _figures(compared: Mapping[str, Any]) -> Iterator[str]:
    digits = comparison.DIGITS[str(compared["nucleus"])] + 1
    for name, figures in compared["statistics"].items():
        if figures is not None and (name == "all" or figures != compared["statistics"]["all"]):
            yield (
                f"<p>{'all signals' if name == 'all' else 'without exchangeable hydrogens'}: MAE "
                f"{figures['mae_ppm']:.{digits}f}, RMSD {figures['rmsd_ppm']:.{digits}f}, largest "
                f"{figures['largest_ppm']:+.{digits}f} ppm at {escape(figures['largest_at'])}, "
                f"{figures['signals']} signals</p>"
            )
    aside = [f"{peak['ppm']:g} ({peak['line_of']})" for peak in compared["aside"]]
    lone = [f"{peak['ppm']:g}" for peak in compared["unassigned"]]
    words = [
        *compared["sentences"],
        *([f"set aside as lines of the solvent or reference: {', '.join(aside)}"] if aside else []),
        *([f"peaks without a signal: {', '.join(lone)}"] if lone else []),
        *compared["problems"],
    ]
    if words:
        yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in words)}</ul>"


def _conformers(result: Mapping[str, Any]) -> Iterator[str]:
    kept = [row for row in result["conformers"] if row.get("state") == "kept"]
    if len(kept) < 2:
        return
    rows = sorted(kept, key=lambda row: (row["energy_hartree"] or 0.0, row["id"]))
    body = "".join(
        f"<tr><td>{escape(str(row['id']))}</td><td>{_number(row.get('relative_kcal_mol'), '.2f')}</td>"
        f"<td>{_number(row.get('weight'), '.3f')}</td><td>{row.get('degeneracy', 1)}</td>"
        f"<td>{_number(row.get('energy_hartree'), '.6f')}</td></tr>"
        for row in rows
    )
    temperature = result["provenance"].get("temperature_k")
    yield f"<h2>Conformers{f', weights at {temperature:g} K' if temperature else ''}</h2>"
    yield _table(["conformer", "energy / kcal/mol", "weight", "stands for", "energy / Eh"], body)


def _notes(result: Mapping[str, Any]) -> Iterator[str]:
    notes = [str(note) for note in result.get("notes") or ()]
    for remedy in result["provenance"].get("remedies") or ():
        altering = "" if remedy["neutral"] else "; this can alter the answer"
        notes.append(f"remedy in {remedy['step']}: {remedy['change']} (after {remedy['code']}{altering})")
    if notes:
        yield f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _texts(result: Mapping[str, Any]) -> Iterator[str]:
    texts = methods.texts(result)
    yield "<h2>For a paper</h2>"
    yield "".join(f"<p>{escape(text)}</p>" for text in texts["lists"].values())
    yield f"<p>{escape(texts['methods'])}</p>"
    yield f"<ol>{''.join(f'<li>{escape(source)}</li>' for source in texts['citations'])}</ol>"


def _table(head: Sequence[str], body: str) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
