"""An ensemble through the daemon, against the same conformers one after the other, and against the bound of its CPU.

    python benchmarks/ensemble.py [--smiles CCCO] [--conformers 4] [--out FILE]     about 10 minutes on 2 cores
    python benchmarks/ensemble.py --study [--speedup 1.9]                           the simulated study alone, a minute

(a) One after the other: the same start structures, each optimised with all cores, then its shielding twice (the way
    qm-nmr-calc does, whose optimisation computes the shieldings as well), with decks as plain as NWChem's defaults.
(b) The bound: CPU seconds of all engines of the daemon's job over the cores.

The study hands out the steps of one stage as the daemon does, 1 to 64 of them on 2 to 64 cores, with the speed-up
measured here on two cores and carried on beyond by the law that the daemon assumes.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qmrunner.attempt.environment import compose  # noqa: E402
from qmrunner.engines.base import Context  # noqa: E402  # the checkout must be on the path first
from qmrunner.engines.nwchem import NWChem, kernels  # noqa: E402
from qmrunner.host.probe import probe  # noqa: E402
from qmrunner.model import core_allocation  # noqa: E402
from qmrunner.model.core_allocation import Busy, Speedup, Stage  # noqa: E402
from qmrunner.model.jobs import Exit, Grant, Outcome  # noqa: E402
from tests.engines.support import step  # noqa: E402
from tests.support import Home, ended_daemons  # noqa: E402

# What the machine has, and the daemon's own times.
REAL = dict.fromkeys(("QMRUNNER_SLOTS", "QMRUNNER_CORES", "QMRUNNER_HEARTBEAT_SECONDS", "QMRUNNER_LEASE_SECONDS"), "")
CORES = len(os.sched_getaffinity(0))
ENERGY_TOLERANCE_HARTREE = 1e-6
_INTEGRALS = re.compile(r"^ (direct|semidirect .*)\n", re.MULTILINE)


def main() -> int:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smiles", default="CCCO")
    parser.add_argument("--conformers", type=int, default=4, help="keep at most so many")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--study", action="store_true", help="only the simulated study")
    parser.add_argument("--speedup", type=float, help="of two cores over one, for --study")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    speedup_on_two = options.speedup
    if not options.study:
        with tempfile.TemporaryDirectory(prefix="qmrunner-ensemble-") as folder:
            figures = compare(Path(folder), options.smiles, options.conformers)
        speedup_on_two = figures["speedup_on_two"]
    figures["study"] = study(curve(speedup_on_two))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


# -- measured ----------------------------------------------------------------------------------------------------------


def compare(folder: Path, smiles: str, conformers: int) -> dict[str, Any]:
    """Both ways, side by side."""
    home = Home(folder / "home", REAL)
    with ended_daemons(home) as start:
        start()
        began = time.monotonic()
        ended = home.run(
            "submit", "nmr", smiles, "--conformers", "rdkit", "--max-conformers", str(conformers), "--level", "draft",
            "--fresh", "--wait", "--json", timeout_s=7200,
        )  # fmt: skip
        waited = time.monotonic() - began
        assert ended.returncode == 0, ended
        result = json.loads(ended.stdout)
        job = home.job(result["id"])
        tries = home.json("why", result["id"])["attempts"]
    makespan = (_moment(job["finished_at"]) - _moment(job["created_at"])).total_seconds()
    cpu = sum(attempt["usage"].get("cpu_s") or 0.0 for attempt in tries)
    bound = cpu / CORES
    print(
        f"daemon: {makespan:.1f} s ({waited:.1f} s with the command), {cpu:.1f} s of CPU, bound {bound:.1f} s",
        flush=True,
    )
    for row in tries:
        took = (_moment(row["finished_at"]) - _moment(row["started_at"])).total_seconds()
        print(
            f"    {row['step']:<16} {row['cores']} core(s)  {took:7.1f} s  {row['usage'].get('cpu_s') or 0:7.1f} s CPU"
        )
    jobs = home.settings.jobs_root / result["id"]
    plain = one_after_the_other(jobs, folder / "plain", [row["id"] for row in result["conformers"] if row["weight"]])
    total = sum(run["wall_s"] for run in plain["runs"])
    ratio, over = total / makespan, makespan / bound
    print(f"one after the other: {total:.1f} s")
    print(f"    the daemon is {ratio:.2f} times as fast (aim 3), and takes {over:.2f} of its bound (aim 1.15)")
    apart = _energies_apart(jobs, plain["energies"])
    above, below = max(0.0, *apart), max(0.0, *(-difference for difference in apart))
    aim = f"aim {ENERGY_TOLERANCE_HARTREE:.0e}"
    print(f"    the daemon's minima are at most {above:.1e} hartree above the plain ones ({aim})")
    print(f"    and up to {below:.1e} below: there NWChem's own first Hessian stopped short of the minimum")
    print(f"    two ranks are {plain['speedup_on_two']:.2f} times as fast as one in the first shielding", flush=True)
    return {
        "smiles": smiles,
        "cores": CORES,
        "conformers": len(plain["energies"]),
        "makespan_s": makespan,
        "cpu_s": cpu,
        "bound_s": bound,
        "one_after_the_other_s": total,
        "times_faster": ratio,
        "over_bound": over,
        "energy_above_plain_hartree": above,
        "energy_below_plain_hartree": below,
        "speedup_on_two": plain["speedup_on_two"],
        "attempts": [
            {"step": attempt["step"], "cores": attempt["cores"], "usage": attempt["usage"]} for attempt in tries
        ],
        "plain_runs": plain["runs"],
    }


def one_after_the_other(job: Path, folder: Path, conformers: Sequence[str]) -> dict[str, Any]:
    """Each conformer of the job again with plain decks and all cores: optimisation, then its shielding twice."""
    folder.mkdir()
    runs, energies, alone = [], {}, {}
    for conformer in conformers:
        params = json.loads((job / "result.json").read_text())["provenance"]["steps"]
        optimised, wall = _run(
            "optimise",
            params[f"optimise-{conformer}"]["params"],
            job / "select-xtb" / f"{conformer}.xyz",
            folder / f"opt-{conformer}",
            CORES,
        )
        runs.append({"run": f"optimise-{conformer}", "wall_s": wall, "steps": optimised.result.get("steps")})
        energies[conformer] = optimised.result["energy_hartree"]
        for again in (1, 2):
            geometry = folder / f"opt-{conformer}" / "geometry.xyz"
            place = folder / f"nmr-{conformer}-{again}"
            _, wall = _run("shielding", params[f"shielding-{conformer}"]["params"], geometry, place, CORES)
            runs.append({"run": f"shielding-{conformer}", "wall_s": wall})
    first = conformers[0]
    for ranks in (1, 2):
        place = folder / f"curve-{ranks}"
        geometry = folder / f"opt-{first}" / "geometry.xyz"
        _, alone[ranks] = _run("shielding", params[f"shielding-{first}"]["params"], geometry, place, ranks)
    return {"runs": runs, "energies": energies, "speedup_on_two": alone[1] / alone[2]}


def _run(task: str, params: Mapping[str, Any], geometry: Path, directory: Path, ranks: int) -> tuple[Outcome, float]:
    """One plain NWChem run: its outcome and wall seconds."""
    asked = step("nwchem", task, **params)
    directory.mkdir()
    engine = NWChem()
    context = Context(directory, {"geometry": geometry}, Grant(ranks, 4000, 500, 500), probe(engine, {}))
    command = engine.prepare(asked, context)
    for name, text in command.files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(_INTEGRALS.sub("", text))
    wanted = {name: value for name, value in command.env.items() if name != kernels.VARIABLE}
    env = compose(os.environ, wanted, directory, "none/none/1").variables
    log = directory.with_suffix(".log")
    began = time.monotonic()
    with log.open("wb") as stream:
        code = subprocess.run(command.argv, cwd=directory, env=env, stdout=stream, stderr=stream).returncode
    wall = time.monotonic() - began
    outcome = engine.interpret(asked, directory, log, Exit(code))
    assert outcome.state == "succeeded", outcome
    print(f"    plain {directory.name:<14} {ranks} rank(s)  {wall:7.1f} s", flush=True)
    return outcome, wall


def _energies_apart(job: Path, energies: Mapping[str, float]) -> list[float]:
    """The daemon's energy less the plain one of each conformer, hartree."""
    found = {
        conformer: json.loads((job / f"optimise-{conformer}" / "result.json").read_text()) for conformer in energies
    }
    return [found[conformer]["energy_hartree"] - energies[conformer] for conformer in energies]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# -- simulated ---------------------------------------------------------------------------------------------------------


def curve(on_two: float | None) -> Speedup:
    """The speed-up carried on from what two cores bring."""
    return core_allocation.amdahl if on_two is None else core_allocation.measured({1: [on_two] * 2, 2: [1.0] * 2})


def makespan(steps: int, cores: int, speedup: Speedup, seed: int, spread: float = 0.15) -> float:
    """When a stage ends whose steps are handed out one claim at a time, over that of perfect packing.

    Perfect: all cores busy to the end, each step on one. Steps differ by `spread`, which who hands them out ignores.
    """
    dice = random.Random(seed)
    todo = [1.0 + spread * dice.uniform(-1, 1) for _ in range(steps)]
    bound = sum(todo) / cores
    running: list[tuple[float, int, float]] = []
    now, free = 0.0, cores
    while todo or running:
        while todo:
            busy = [
                Busy(used, core_allocation.remaining_s(1.0 / speedup(used), now - since)) for _, used, since in running
            ]
            stage = Stage(len(todo), 1, min(32, cores), 1.0)
            wanted = core_allocation.cores_now(stage, free, busy, cores - len(running), speedup)
            if not wanted:
                break
            heapq.heappush(running, (now + todo.pop() / speedup(wanted), wanted, now))
            free -= wanted
        now, used, _ = heapq.heappop(running)
        free += used
    return now / bound


def study(speedup: Speedup) -> dict[str, dict[str, float]]:
    """Makespan over bound by cores and number of steps, mean of five draws; printed as a table."""
    counts = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64)
    print("\nmakespan over the bound of one core per step, by cores (rows) and steps (columns)")
    print("      " + "".join(f"{count:>6}" for count in counts))
    table: dict[str, dict[str, float]] = {}
    for cores in (2, 8, 16, 64):
        ratios = [sum(makespan(count, cores, speedup, seed) for seed in range(5)) / 5 for count in counts]
        table[str(cores)] = {str(count): round(ratio, 3) for count, ratio in zip(counts, ratios, strict=True)}
        print(f"{cores:>6}" + "".join(f"{ratio:6.2f}" for ratio in ratios))
    return table


if __name__ == "__main__":
    sys.exit(main())
