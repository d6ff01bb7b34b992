"""`python -m tests.apps.unmodified --app CHECKOUT --python PYTHON`: qm-nmr-calc itself, killed again and again.

CHECKOUT is github.com/steinbeck/qm-nmr-calc at da0bbf7, PYTHON an interpreter of a separate environment with its
dependencies; `nwchem` and `mpirun` are on PATH. Each trial is one calculation in a fresh folder with up to three kills
at random moments of its engines. A line of JSON for each goes to `--results`, the sums to stdout; ends with 1 if
anything was wrong.

none                  no kill; the first of these is the reference
task, guardian        SIGKILL: the body runs again, its programs are gone before
consumer, apphost     SIGKILL: the task keeps running
supervisor            SIGKILL, then `run` again: the task keeps running
tree                  SIGKILL to every process, engines too, then `run` again
tree-without-engines  the same, but the engines live: `run` must end them first
container             SIGKILL to the first process of a pid namespace, then another namespace with the same folders
stop                  SIGTERM, then `run` again
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.apps.unmodified.application import CALCULATIONS, PINNED, Application, Calculation
from tests.apps.unmodified.trial import KINDS, Reference, Report, trial


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--calculation", choices=CALCULATIONS, default="methane")
    parser.add_argument("--kinds", default=",".join(kind for kind in KINDS if kind != "none"))
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline-s", type=float, default=900.0, help="for the end of a job after the last kill")
    parser.add_argument("--results", type=Path, default=Path("unmodified.jsonl"))
    parser.add_argument("--keep", type=Path, help="move the folders of trials in which something was wrong here")
    asked = parser.parse_args()
    calculation, chance = CALCULATIONS[asked.calculation], random.Random(asked.seed)
    version = Application(asked.app, asked.python, Path(tempfile.mkdtemp()), asked.ranks).version()
    if version != PINNED:
        print(f"this is {version}, not {PINNED}", file=sys.stderr)
    reports: list[Report] = []
    first, reference = _reference(asked, calculation)
    _write(asked.results, first)
    print(f"undisturbed: {reference.engine_s:.1f} s from the first engine to the end; {reference.shifts}", flush=True)
    kinds = asked.kinds.split(",")
    for number in range(asked.times):
        for kind in kinds:
            done = sum(len(report.at_s) for report in reports if report.kind == kind)
            if kind != "none" and done >= asked.times:
                continue
            report = _trial(asked, calculation, kind, reference, chance)
            _write(asked.results, report)
            reports.append(report)
            print(f"{number + 1} {kind}: {report.wrong or 'right'} {report.at_s} {report.took_s} s", flush=True)
    for kind in kinds:
        _print_sum(kind, [report for report in reports if report.kind == kind])
    return 1 if any(report.wrong for report in [first, *reports]) else 0


def _reference(asked: argparse.Namespace, calculation: Calculation) -> tuple[Report, Reference]:
    """The shifts of the first undisturbed run; the trial itself compares them with those in its own folder."""
    with tempfile.TemporaryDirectory(prefix="unmodified-") as root:
        app = Application(asked.app, asked.python, Path(root) / "app", asked.ranks)
        began = time.monotonic()
        report = trial(app, calculation, "none", 0, Reference([], 0.0), random.Random(0), asked.deadline_s)
        report.wrong = [one for one in report.wrong if not one.startswith("shifts differ")]
        (job,) = [path.name for path in (app.folder / "data/jobs").iterdir()]
        shifts = app.shifts(job)
        if not shifts or report.wrong:
            raise SystemExit(f"the undisturbed run went wrong: {report.wrong}\n{(app.folder / 'stdout').read_text()}")
        status = app.status(job)
        assert status is not None
        seconds = sum(step["duration_seconds"] for step in status["steps_completed"])
    return report, Reference(shifts, min(seconds, time.monotonic() - began))


def _trial(
    asked: argparse.Namespace, calculation: Calculation, kind: str, reference: Reference, chance: random.Random
) -> Report:
    with tempfile.TemporaryDirectory(prefix="unmodified-") as root:
        folder = Path(root) / "app"
        app = Application(asked.app, asked.python, folder, asked.ranks)
        kills = 0 if kind == "none" else 3 if KINDS[kind] else 2
        report = trial(app, calculation, kind, kills, reference, chance, asked.deadline_s)
        if report.wrong and asked.keep is not None:
            shutil.move(folder, asked.keep / f"{kind}-{time.time():.0f}")
    return report


def _write(path: Path, report: Report) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(report)) + "\n")


def _print_sum(kind: str, reports: list[Report]) -> None:
    def span(values: list[list[float]]) -> str:
        known = sorted(value for kills in values for value in kills)
        return f"{known[0]:g}/{statistics.median(known):g}/{known[-1]:g} s" if known else "-"

    wrong = sum(bool(report.wrong) for report in reports)
    gone, again = span([report.gone_s for report in reports]), span([report.again_s for report in reports])
    looked = sum(report.looks for report in reports)
    print(
        f"{kind}: {len(reports) - wrong} of {len(reports)} right; old gone {gone}; new engine {again}; {looked} looks"
    )


if __name__ == "__main__":
    sys.exit(main())
