"""Runs molecules of DELTA50 through the daemon and compares their shifts with experiment.

    qmrunner run &
    python benchmarks/delta50.py --level draft --limit 15

Smallest molecules first. Every job is submitted under an idempotency key, so a benchmark that was interrupted goes on
where it stopped. The draft line of the program was fitted to `data/delta50_draft.json`, which this prints again:

    python benchmarks/delta50.py --print benchmarks/data/delta50_draft.json

Three lines are compared for each nucleus: the one the
program uses, the TMS reference of the same level (draft only) and a line fitted to these molecules, judged by leaving
out one molecule at a time.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qmrunner.chemistry.scaling import line_for

DATA = Path(__file__).with_name("data") / "delta50_part.json"
NUCLEI = ("1H", "13C")
# Shieldings of TMS, B3LYP/6-31G* in chloroform, ppm.
TMS = {"1H": 32.15, "13C": 190.34}
# One atom: molecule, shielding and experimental shift in ppm.
Point = tuple[str, float, float]


def main() -> int:
    """Run what is asked for, print the table. 1 when no molecule came through."""
    options = _options()
    molecules = json.loads(DATA.read_text(encoding="utf-8"))["molecules"]
    if options.recorded:
        show(_kept(options.recorded, options.level), molecules, options.level)
        return 0
    chosen = [key for key in molecules if key in (options.only or molecules)]
    order = sorted(chosen, key=lambda key: (len(molecules[key]["xyz_angstrom"]), key))[: options.limit]
    found = _kept(options.out, options.level)
    for key in order:
        if key in found:
            continue
        with _lock(options.lock):
            answer = run(key, molecules[key], options.level)
        if answer is not None:
            found[key] = answer
            print(f"{key} {molecules[key]['name']}: job {answer['id']}", flush=True)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not found:
        print("no molecule came through", file=sys.stderr)
        return 1
    show(found, molecules, options.level)
    return 0


def show(found: Mapping[str, Any], molecules: Mapping[str, Any], level: str) -> None:
    """Print the figures of both nuclei."""
    print(f"\n{len(found)} molecules, level {level}, chloroform")
    for nucleus in NUCLEI:
        report(nucleus, points(nucleus, found, molecules), level)


def _kept(path: Path | None, level: str) -> dict[str, dict[str, Any]]:
    """The answers of an earlier run at this level."""
    if path is None or not path.is_file():
        return {}
    answers: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return {key: answer for key, answer in answers.items() if answer["level"] == level}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="draft", choices=("draft", "production"))
    parser.add_argument("--limit", type=int, help="only so many molecules, smallest first")
    parser.add_argument("--only", nargs="+", metavar="COMPOUND", help="only these, as in compound_05 compound_01")
    parser.add_argument("--out", type=Path, help="keep the answers in this JSON file, and go on from it")
    parser.add_argument("--print", type=Path, dest="recorded", help="only print what this JSON file of answers tells")
    parser.add_argument("--lock", type=Path, help="hold a lock on this file while a molecule runs")
    return parser.parse_args()


@contextmanager
def _lock(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def run(key: str, molecule: Mapping[str, Any], level: str) -> dict[str, Any] | None:
    """The answer of the job for one molecule, or None, with the reason printed, when it failed."""
    rows = molecule["xyz_angstrom"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{key}.xyz"
        path.write_text("\n".join([str(len(rows)), molecule["name"], *rows]) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "qmrunner", "submit", "nmr", str(path), "--level", level]
        command += ["--conformers", "none", "--key", f"delta50-{level}-{key}", "--name", key, "--wait", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{key} {molecule['name']} failed:\n{done.stdout}{done.stderr}", flush=True)
        return None
    answer: dict[str, Any] = json.loads(done.stdout)
    return {name: answer[name] for name in ("id", "level", "energy_hartree", "shifts")}


def points(nucleus: str, found: Mapping[str, Any], molecules: Mapping[str, Any]) -> list[Point]:
    """One point for each atom with an experimental shift."""
    pairs = []
    for key, answer in found.items():
        measured = molecules[key]["shifts_ppm"][nucleus]
        for row in answer["shifts"]:
            if row["nucleus"] == nucleus and str(row["atom"]) in measured:
                pairs.append((key, row["shielding_ppm"], measured[str(row["atom"])]))
    return pairs


def fit(chosen: Sequence[Point]) -> tuple[float, float]:
    """Slope and intercept (ppm) of the least-squares line from shielding to shift."""
    slope, intercept = np.polyfit([p[1] for p in chosen], [p[2] for p in chosen], 1)
    return float(slope), float(intercept)


def left_out(chosen: Sequence[Point]) -> list[float]:
    """Errors in ppm of each molecule's atoms under the line fitted to all other molecules."""
    errors = []
    for key in dict.fromkeys(p[0] for p in chosen):
        slope, intercept = fit([p for p in chosen if p[0] != key])
        errors += [intercept + slope * p[1] - p[2] for p in chosen if p[0] == key]
    return errors


def report(nucleus: str, chosen: Sequence[Point], level: str) -> None:
    """Print mean absolute and root mean square errors in ppm."""
    molecules = len({p[0] for p in chosen})
    print(f"\n{nucleus}: {len(chosen)} atoms of {molecules} molecules")
    own = line_for(nucleus, "chloroform", level)
    _say("the program's line", [own.shift(p[1]) - p[2] for p in chosen])
    if level == "draft":
        _say(f"TMS reference {TMS[nucleus]}", [TMS[nucleus] - p[1] - p[2] for p in chosen])
    if molecules < 3:
        return
    slope, intercept = fit(chosen)
    _say(f"fitted: {intercept:.5f} {slope:+.6f} × shielding", [intercept + slope * p[1] - p[2] for p in chosen])
    errors = left_out(chosen)
    _say("fitted, one molecule left out", errors)
    worst = sorted(zip(map(abs, errors), chosen, strict=True), reverse=True)[:3]
    print("  worst left out: " + ", ".join(f"{p[0]} {p[2]:.2f} ppm by {error:.2f}" for error, p in worst))


def _say(what: str, errors: Sequence[float]) -> None:
    table = np.asarray(errors)
    mean, root = np.abs(table).mean(), np.sqrt((table**2).mean())
    print(f"  {what:<44s} MAE {mean:7.3f}  RMSD {root:7.3f}  largest {np.abs(table).max():7.3f} ppm")


if __name__ == "__main__":
    sys.exit(main())
