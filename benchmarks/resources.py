"""How well peaks are predicted, and what looking at them costs.

    python benchmarks/resources.py [--molecules O,CO,CCO] [--runs 2] [--level draft] [--seconds 60] [--json]

Peaks: each molecule runs as an NMR job through a real daemon `--runs` times, every time from a slightly moved geometry
so that nothing is answered from an earlier run. Compared are the rule's figure, what was expected before the last run
(after learning from those before it), and what that run used. Aim: within 30 % after learning.

Sampler: eight guardians, each over three processes that sleep, for `--seconds`. Aim: under 0.5 % of a core for all
eight together.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qmrunner.app import App  # noqa: E402  # the checkout must be on the path first
from qmrunner.guardian import process_tree  # noqa: E402
from qmrunner.model.learned_demand import expected, kind_of  # noqa: E402
from qmrunner.store import jobs as job_store  # noqa: E402
from qmrunner.store import usage_peaks, workers  # noqa: E402
from tests.processes import Spawner  # noqa: E402
from tests.support import Home, ended_daemons, wait_for  # noqa: E402

LOOK_EVERY_S = 0.5
ATTEMPTS = 8
FIGURES = ("memory", "scratch", "shm")


def structures(smiles: str, runs: int) -> list[str]:
    """XYZ texts of one molecule, each moved by a thousandth of an angstrom more than the one before."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=7)
    AllChem.MMFFOptimizeMolecule(molecule)
    points = molecule.GetConformer().GetPositions()
    symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
    texts = []
    for run in range(runs):
        lines = [
            f"{symbol} {x + 0.001 * run * (number == 0):.6f} {y:.6f} {z:.6f}"
            for number, (symbol, (x, y, z)) in enumerate(zip(symbols, points, strict=True))
        ]
        texts.append("\n".join([str(len(symbols)), smiles, *lines, ""]))
    return texts


def measure(molecules: list[str], runs: int, level: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home", {"QMRUNNER_HEARTBEAT_SECONDS": "", "QMRUNNER_LEASE_SECONDS": ""})
        found: list[dict[str, Any]] = []
        with ended_daemons(home) as start:
            start()
            app = App(home.settings)
            for smiles in molecules:
                for run, text in enumerate(structures(smiles, runs), 1):
                    path = Path(folder) / f"{len(found)}-{run}.xyz"
                    path.write_text(text)
                    rows = _run(home, app, path, level)
                    if run == runs:
                        found += [{"molecule": smiles, "runs_before": run - 1, **row} for row in rows]
            app.close()
        return found


def _run(home: Home, app: App, path: Path, level: str) -> list[dict[str, Any]]:
    """One job to its end: rule, expectation before it ran, and measured peaks of each of its NWChem steps."""
    job = home.json("submit", "nmr", str(path), "--level", level)["id"]
    known: dict[str, Any] = {}

    def over() -> bool:
        with app.store.read() as connection:
            for step in job_store.of_job(connection, job):
                if step.engine == "nwchem" and step.name not in known:
                    kind = kind_of(step.engine, step.task, step.params)
                    known[step.name] = usage_peaks.seen(connection, [kind])[str(kind)]
            state = job_store.get(connection, job).state
        if state in ("failed", "held", "cancelled"):
            raise SystemExit(f"{path.name} is {state}: {home.json('why', job)}")
        return state == "succeeded"

    while not over():
        time.sleep(LOOK_EVERY_S)
    with app.store.read() as connection:
        steps = {step.name: step for step in job_store.of_job(connection, job)}
        tries = {attempt.step_id: attempt for attempt in workers.attempts_of_job(connection, job)}
    rows = []
    for name, seen in known.items():
        step, attempt = steps[name], tries[steps[name].id]
        rule, learned = (expected(step.demand, attempt.grant.cores, past) for past in ([], seen))
        rows.append(
            {
                "step": step.task,
                "atoms": len(step.params["atoms"]),
                "cores": attempt.grant.cores,
                **{
                    figure: {
                        "rule_mib": rule[f"{figure}_mib"],
                        "expected_mib": learned[f"{figure}_mib"],
                        "measured_mib": attempt.usage.get(f"peak_{figure}_mib"),
                    }
                    for figure in FIGURES
                },
            }
        )
    return rows


def sampler(seconds: float) -> dict[str, float]:
    """CPU of eight guardians while they look at eight quiet trees of three processes."""
    with tempfile.TemporaryDirectory() as folder:
        spawner = Spawner(Path(folder))
        try:
            quiet = f"{sys.executable} -c 'import ctypes, json, sqlite3, ssl, time; time.sleep(100000)'"
            script = f"{quiet} & {quiet} & {quiet}"
            guarded = [spawner.guard("sh", "-c", script, adoption_s=1e6) for _ in range(ATTEMPTS)]
            for attempt in guarded:
                wait_for(lambda running=attempt: len(process_tree.descendants(running.pid)) >= 4, 30, "its processes")
            time.sleep(5)  # imports, and the first and closer looks
            before, began = _cpu_s(guarded), time.monotonic()
            time.sleep(seconds)
            spent, wall = _cpu_s(guarded) - before, time.monotonic() - began
        finally:
            spawner.close()
    return {"attempts": ATTEMPTS, "seconds": round(wall, 1), "cpu_s": round(spent, 3), "percent": 100 * spent / wall}


def _cpu_s(guarded: list[Any]) -> float:
    stats = [process_tree.stat_of(attempt.pid) for attempt in guarded]
    return sum(stat.utime + stat.stime for stat in stats if stat) / process_tree.TICKS_PER_SECOND


def show(found: dict[str, Any]) -> None:
    print("molecule  step       atoms cores  figure   rule  expected  measured   off")
    for row in found["peaks"]:
        for figure in FIGURES:
            values = row[figure]
            measured = values["measured_mib"]
            off = "" if not measured else f"{100 * (values['expected_mib'] / measured - 1):+.0f} %"
            print(
                f"{row['molecule']:9} {row['step']:10} {row['atoms']:5} {row['cores']:5}  {figure:7}"
                f"{values['rule_mib']:6} {values['expected_mib']:9} {measured or 0:9.1f} {off:>5}"
            )
    sampler = found["sampler"]
    print(
        f"sampler: {sampler['percent']:.2f} % of a core for {sampler['attempts']} attempts over {sampler['seconds']} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", default="O,CO,CCO", help="SMILES, separated by commas")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--level", default="draft")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    molecules = [name for name in asked.molecules.split(",") if name]
    found = {"peaks": measure(molecules, asked.runs, asked.level), "sampler": sampler(asked.seconds)}
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
