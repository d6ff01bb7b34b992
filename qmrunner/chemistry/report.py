"""Converts shieldings and energies into the result: shifts, tables and plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qmrunner.chemistry import accuracy, average, choose_conformers, equivalence, task_molecule, topology
from qmrunner.chemistry.atom_kinds import HEAVY_HALOGENS, kinds
from qmrunner.chemistry.equivalence import Equivalence
from qmrunner.chemistry.scaling import NUCLEI, Line, line_for
from qmrunner.chemistry.step_results import Conformer, read_conformer
from qmrunner.chemistry.xyz import write_xyz
from qmrunner.errors import JobFailedError
from qmrunner.model.units import KCAL_PER_HARTREE

DIGITS = 4
_EXCHANGE = (
    "{} on N, O or S: the shift is that of a single molecule without hydrogen bonds or exchange; measured ones depend "
    "on solvent and concentration and may differ by several ppm"
)
_UNSEEN = "{}: no molecule of the fit has such an atom ({}), so its ± is the one for unknown kinds"
_HEAVY = (
    "{}: no ±, because elements beyond argon, such as bromine, and several chlorines shift their carbon by spin-orbit "
    "coupling, sometimes by tens of ppm, and this method does not include it"
)
_UNKNOWN = "bond orders are not known: the ± of every atom is the one for unknown kinds"
_MOST_NAMED = 12
_COLUMNS = (
    "atom",
    "symbol",
    "nucleus",
    "shift_ppm",
    "uncertainty_ppm",
    "shielding_ppm",
    "own_shielding_ppm",
    "equivalent_atoms",
    "kind",
)


def as_computed(task: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The task with the bonds of its lowest structure, if the job accepts that it became another molecule; and the
    notes on that. Signals are averaged over the atoms of the computed molecule, not of the submitted one."""
    symbols, bonds = list(task["symbols"]), [(int(a), int(b)) for a, b in task["bonds"]]
    unclear = [(int(a), int(b)) for a, b in task.get("unclear_bonds") or ()]
    found = [read_conformer(entry, symbols) for entry in task["conformers"]]
    changes = {conformer.id: topology.compare(symbols, bonds, conformer.coordinates, unclear) for conformer in found}
    lowest = changes[min(found, key=lambda conformer: conformer.energy_hartree).id]
    notes = [f"{name}: {topology.accepted(topology.described(c, symbols, bonds))}" for name, c in changes.items() if c]
    if len({(change.broken, change.made) for change in changes.values()}) > 1:
        notes.append("the conformers are not one molecule: their shifts are averaged as if they were the lowest one")
    if not lowest:
        return task, notes
    own = sorted({*bonds, *lowest.made} - set(lowest.broken))
    return {**task, "bonds": own, "smiles": None, "source": {}}, notes


def evaluate(task: Mapping[str, Any]) -> dict[str, Any]:
    """Shifts and conformer table of a `shifts` task: `symbols`, `bonds`, `solvent`, `level`, `temperature_k`,
    `conformers`.

    Each shift row is one H or C atom: `shielding_ppm` is averaged over conformers (Boltzmann) and over the
    `equivalent_atoms` (itself among them, see `equivalence`), `own_shielding_ppm` over conformers only; an isotope that
    gives no signal has no row. `kind` is the kind of atom (see `kinds`), None where bond orders are not known, and
    `uncertainty_ppm` the ± of that kind (see `accuracy`), None for hydrogens on N, O and S. `energy_hartree` is that of
    the lowest conformer. `by_conformer` has the shieldings of `atoms` in each conformer. `notes` are for users. Raises
    JobFailedError `incomplete_input` when an atom's shielding is missing.
    """
    symbols: list[str] = list(task["symbols"])
    temperature = float(task["temperature_k"])
    conformers = [read_conformer(entry, symbols) for entry in task["conformers"]]
    fold = [int(entry.get("degeneracy", 1)) for entry in task["conformers"]]
    energies = [c.energy_hartree for c in conformers]
    weights = [float(w) for w in average.boltzmann_weights(energies, temperature, fold)]
    lines = {nucleus: line_for(nucleus, task["solvent"], task["level"]) for nucleus in NUCLEI.values()}
    best = min(conformers, key=lambda c: c.energy_hartree)
    alike = equivalence.settle(task, conformers, best)
    rows, table = _rows(symbols, conformers, weights, alike, lines)
    notes = _judge(rows, task, best)
    return {
        "energy_hartree": best.energy_hartree,
        "shifts": rows,
        "conformers": [
            {
                "id": c.id,
                "energy_hartree": c.energy_hartree,
                "relative_kcal_mol": round((c.energy_hartree - best.energy_hartree) * KCAL_PER_HARTREE, 6),
                "weight": weight,
                "degeneracy": degeneracy,
                "state": "kept",
                "reason": None,
            }
            for c, weight, degeneracy in zip(conformers, weights, fold, strict=True)
        ],
        "lowest": best.id,
        "by_conformer": table,
        "provenance": {
            "scaling": {nucleus: line.as_dict() for nucleus, line in lines.items()},
            "uncertainty": accuracy.RULE,
            "temperature_k": temperature,
            "weights": "Boltzmann, DFT energies of the structures in solvent, without vibrations; mirror images count",
            "equivalence": equivalence.RULE,
        },
        "notes": [*alike.notes, *notes],
    }


def _rows(
    symbols: Sequence[str],
    conformers: Sequence[Conformer],
    weights: Sequence[float],
    alike: Equivalence,
    lines: Mapping[str, Line],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows, and the shieldings of each conformer, averaged over equivalent atoms like those of the rows."""
    wanted = [n for n, symbol in enumerate(symbols, start=1) if symbol in NUCLEI and n not in alike.silent]
    pairs = list(zip(conformers, alike.images, strict=True))
    table = [[_shielding(conformer, image[number]) for number in wanted] for conformer, image in pairs]
    own = average.over_conformers(table, weights)
    place = {number: index for index, number in enumerate(wanted)}
    # A group has atoms of one isotope, so all of them give a signal or none does.
    kept = [group for group in alike.groups if group[0] in place]
    places = [[place[number] + 1 for number in group] for group in kept]
    mean = average.over_groups(own, places)
    group_of = {number: group for group in kept for number in group}
    rows = []
    for index, number in enumerate(wanted):
        nucleus = NUCLEI[symbols[number - 1]]
        shielding = float(mean[index])
        rows.append(
            {
                "nucleus": nucleus,
                "atom": number,
                "symbol": symbols[number - 1],
                "shift_ppm": round(lines[nucleus].shift(shielding), DIGITS),
                "shielding_ppm": round(shielding, DIGITS),
                "own_shielding_ppm": round(float(own[index]), DIGITS),
                "equivalent_atoms": list(group_of[number]),
            }
        )
    each = [[round(float(value), DIGITS) for value in average.over_groups(values, places)] for values in table]
    return rows, {"atoms": wanted, "shieldings_ppm": each}


def _judge(rows: Sequence[dict[str, Any]], task: Mapping[str, Any], best: Conformer) -> list[str]:
    """Add `kind` and `uncertainty_ppm` to every row; returns notes on atoms of a kind that no molecule of the fit
    has."""
    mol, unclear = task_molecule.drawable({**task, "atoms": task["symbols"]}, best.coordinates)
    ends = {frozenset((bond.GetBeginAtomIdx() + 1, bond.GetEndAtomIdx() + 1)) for bond in mol.GetBonds()}
    clear = unclear is None and ends == {frozenset(pair) for pair in task["bonds"]}
    kind_of, unsure = kinds(mol) if clear else {}, set(exchangeable(task))
    unseen: dict[str, list[str]] = {}
    heavy: list[str] = []
    for row in rows:
        known = accuracy.accuracy_of(row["nucleus"], task["solvent"], task["level"])
        number, kind = row["atom"], kind_of.get(row["atom"])
        name = f"{row['symbol']}{number}"
        row["kind"], row["uncertainty_ppm"] = kind, None
        if kind == HEAVY_HALOGENS and row["nucleus"] == "13C":
            heavy.append(name)
        elif number not in unsure:
            row["uncertainty_ppm"] = known.uncertainty_ppm(kind)
            if kind is not None and kind not in known.kinds:
                unseen.setdefault(kind, []).append(name)
    if not clear:
        return [_UNKNOWN]
    notes = [_UNSEEN.format(_listed(atoms), kind) for kind, atoms in unseen.items()]
    return [*notes, _HEAVY.format(_listed(heavy))] if heavy else notes


def _listed(atoms: Sequence[str]) -> str:
    more = f" and {len(atoms) - _MOST_NAMED} more" if len(atoms) > _MOST_NAMED else ""
    return ", ".join(atoms[:_MOST_NAMED]) + more


def exchangeable(task: Mapping[str, Any]) -> list[int]:
    """Numbers of the hydrogens on N, O and S that give a signal."""
    heavy = {int(number) for number, mass in task.get("isotopes") or () if int(mass) > 1}
    symbols, pairs = task["symbols"], [(int(a), int(b)) for a, b in task["bonds"]]
    found = [
        h for a, b in pairs for h, other in ((a, b), (b, a)) if _is(symbols, h, "H") and _is(symbols, other, *"NOS")
    ]
    return sorted(set(found) - heavy)


def _is(symbols: Sequence[str], number: int, *some: str) -> bool:
    return symbols[number - 1] in some


def _shielding(conformer: Conformer, number: int) -> float:
    value = conformer.shieldings_ppm.get(number)
    if value is None:
        raise JobFailedError(
            "incomplete_input",
            f"the shielding of atom {number} is missing in {conformer.id}",
            evidence=f"{len(conformer.shieldings_ppm)} shieldings read",
            remedy="check the log of the shielding step; `qmrunner retry` runs it again",
        )
    return value


def write(result: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    """Write `shifts.json`, `shifts.csv`, `geometry.xyz` (lowest conformer) and `ensemble.xyz` (all kept ones, with
    their weights) into the working directory."""
    Path("shifts.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    Path("shifts.csv").write_text(as_csv(result["shifts"]), encoding="utf-8")
    entry = next(entry for entry in task["conformers"] if entry["id"] == result["lowest"])
    lowest = read_conformer(entry, task["symbols"])
    comment = f"{lowest.id} energy {lowest.energy_hartree:.10f} hartree"
    Path("geometry.xyz").write_text(write_xyz(task["symbols"], lowest.coordinates, comment), encoding="utf-8")
    points = {entry["id"]: read_conformer(entry, task["symbols"]).coordinates for entry in task["conformers"]}
    rows = sorted(result["conformers"], key=lambda row: (row["energy_hartree"], row["id"]))
    Path("ensemble.xyz").write_text(choose_conformers.ensemble_xyz(rows, task["symbols"], points), encoding="utf-8")
    return ["shifts.json", "shifts.csv", "geometry.xyz", "ensemble.xyz"]


def write_ensemble(result: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    """Write `ensemble.json`: what `sensitivity` needs to weigh the conformers for another temperature."""
    shown = ("id", "energy_hartree", "degeneracy", "weight")
    lines = {n: {k: line[k] for k in ("slope", "intercept_ppm")} for n, line in result["provenance"]["scaling"].items()}
    content = {
        "temperature_k": result["provenance"]["temperature_k"],
        "lines": lines,
        "conformers": [{name: row[name] for name in shown} for row in result["conformers"]],
        **table,
        "nuclei": [row["nucleus"] for row in result["shifts"]],
    }
    Path("ensemble.json").write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    return ["ensemble.json"]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The shift rows as CSV with a header. Unknown values are empty fields; lists of atoms are separated by blanks."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        together = " ".join(map(str, row["equivalent_atoms"]))
        writer.writerow({**{key: row[key] for key in _COLUMNS}, "equivalent_atoms": together})
    return out.getvalue()


def draw(result: Mapping[str, Any]) -> list[str]:
    """Write `spectrum_1H.svg` and `spectrum_13C.svg`, if the molecule has such a nucleus; nothing without
    matplotlib."""
    try:
        from qmrunner.chemistry.spectrum import draw_spectrum
    except ImportError:
        return []
    files = []
    for nucleus in NUCLEI.values():
        rows = [row for row in result["shifts"] if row["nucleus"] == nucleus]
        if rows:
            draw_spectrum(rows, nucleus, Path(f"spectrum_{nucleus}.svg"))
            files.append(f"spectrum_{nucleus}.svg")
    return files


def show(result: Mapping[str, Any], task: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Write `structure.svg` and `nmredata.sdf`. Returns their names, and notes on anything that could not be shown
    correctly."""
    from qmrunner.chemistry import drawing

    entry = next(entry for entry in task["conformers"] if entry["id"] == result["lowest"])
    lowest = read_conformer(entry, task["symbols"])
    mol, note = task_molecule.drawable({**task, "atoms": task["symbols"]}, lowest.coordinates)
    Path("structure.svg").write_text(drawing.draw_structure(mol), encoding="utf-8")
    Path("nmredata.sdf").write_text(drawing.nmredata(mol, result, task, task.get("smiles")), encoding="utf-8")
    acidic = ", ".join(f"H{number}" for number in exchangeable(task))
    notes = [_EXCHANGE.format(acidic)] if acidic else []
    return ["structure.svg", "nmredata.sdf"], [*notes, note] if note else notes
