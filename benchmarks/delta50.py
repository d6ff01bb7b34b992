"""Runs molecules of DELTA50 through the daemon and compares their shifts with experiment.

    qmrunner run &
    python benchmarks/delta50.py --level draft --limit 15

Smallest molecules first. Every job is submitted under an idempotency key, so an interrupted benchmark resumes where it
stopped. The results behind the program's figures are in `data/`; this prints those of one level again:

    python benchmarks/delta50.py --level draft --print benchmarks/data/delta50_draft.json

and this fits the lines of quick and draft, takes the residuals of all levels by kind of atom, and writes both where the
program reads them:

    python benchmarks/delta50.py --fit

Three lines are compared for each nucleus: the one the program uses, the TMS reference of the same level (draft only)
and a line fitted to these molecules, judged by leaving out one molecule at a time. Then the ± by kind of atom, and what
share of the errors lies within ± and within 2 ±: of molecules, and of whole kinds, kept from line and ± alike.
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

import fitting
from fitting import Point

from qmrunner.chemistry import scaling
from qmrunner.chemistry.scaling import line_for

# Shieldings of TMS, B3LYP/6-31G* in chloroform, ppm.
TMS = {"1H": 32.15, "13C": 190.34}


def main() -> int:
    """Run what is asked for, print the table. 1 when no molecule came through."""
    options = _options()
    molecules = fitting.molecules()
    if options.fit:
        target = Path(scaling.__file__).with_name("fitted.json")
        target.write_text(json.dumps(fitting.fitted(), indent=1) + "\n", encoding="utf-8")
        target = target.with_name("residuals.json")
        target.write_text(json.dumps(fitting.residuals(), indent=1) + "\n", encoding="utf-8")
        return 0
    if options.recorded:
        show(fitting.answers(options.recorded, options.level), molecules, options.level)
        return 0
    chosen = [key for key in molecules if key in (options.only or molecules)]
    order = sorted(chosen, key=lambda key: (len(molecules[key]["xyz_angstrom"]), key))[: options.limit]
    found = fitting.answers(options.out, options.level)
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
    for nucleus in fitting.NUCLEI:
        report(nucleus, fitting.points(nucleus, found, molecules), level)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="draft", choices=fitting.LEVELS)
    parser.add_argument("--fit", action="store_true", help="write what the program uses, from the answers in data/")
    parser.add_argument("--limit", type=int, help="only so many molecules, smallest first")
    parser.add_argument("--only", nargs="+", metavar="COMPOUND", help="only these, as in compound_05 compound_01")
    parser.add_argument("--out", type=Path, help="keep the results in this JSON file, and resume from it")
    parser.add_argument("--print", type=Path, dest="recorded", help="only print the results in this JSON file")
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


def report(nucleus: str, chosen: Sequence[Point], level: str) -> None:
    """Print mean absolute and root mean square errors in ppm, and the ± with what it covers."""
    molecules = len({p.molecule for p in chosen})
    print(f"\n{nucleus}: {len(chosen)} atoms of {molecules} molecules")
    own = line_for(nucleus, "chloroform", level)
    _say("the program's line", [own.shift(p.shielding) - p.shift for p in chosen])
    if level == "draft":
        _say(f"TMS reference {TMS[nucleus]}", [TMS[nucleus] - p.shielding - p.shift for p in chosen])
    if molecules < 3:
        return
    slope, intercept = line = fitting.fit(chosen)
    _say(f"fitted: {intercept:.5f} {slope:+.6f} × shielding", [p.error(line) for p in chosen])
    errors = fitting.left_out(chosen)
    _say("fitted, one molecule left out", [error for _, error in errors])
    worst = sorted(((abs(error), p) for p, error in errors), reverse=True)[:3]
    print("  worst left out: " + ", ".join(f"{p.molecule} {p.shift:.2f} ppm by {error:.2f}" for error, p in worst))
    _show_kinds(chosen, fitting.given(nucleus, level))


def _show_kinds(chosen: Sequence[Point], line: tuple[fitting.Line, float] | None) -> None:
    known = fitting.accuracy(chosen, line)
    print(f"  {'kind':<20s} {'molecules':>9s} {'atoms':>6s} {'RMS':>8s} {'± / ppm':>9s}")
    for kind, seen in known.kinds.items():
        atoms = sum(p.kind == kind for p in chosen)
        print(f"  {kind:<20s} {seen.molecules:9d} {atoms:6d} {seen.rms_ppm:8.3f} {known.uncertainty_ppm(kind):9.3f}")
    print(f"  {'never seen':<20s} {'':9s} {'':6s} {known.unseen_rms_ppm:8.3f} {known.uncertainty_ppm(None):9.3f}")
    for what, part in (("molecules", lambda p: p.molecule), ("kinds", lambda p: p.kind)):
        cases = fitting.missed(chosen, part, line)
        shares = f"{fitting.coverage(cases):.1%} within ±, {fitting.coverage(cases, 2):.1%} within 2 ±"
        print(f"  of {len(cases)} errors of {what} kept out: {shares}")


def _say(what: str, errors: Sequence[float]) -> None:
    mean, root = fitting.figures(errors)
    print(f"  {what:<44s} MAE {mean:7.3f}  RMSD {root:7.3f}  largest {max(map(abs, errors)):7.3f} ppm")


if __name__ == "__main__":
    sys.exit(main())
