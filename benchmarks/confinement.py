"""What confinement by the kernel costs: the makespan of one NMR prediction with it and without it, in turns.

    python benchmarks/confinement.py [--rounds 5] [--smiles CCO] [--json]

Each round runs the same job under a fresh home with QMRUNNER_CONFINE=require and =off, the order changing from round
to round. The figure is the ratio of the medians of the attempts' wall times (without waits); the aim is 1.02 at most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

AIM = 1.02
MODES = ("require", "off")


def makespan_s(mode: str, smiles: str, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of all attempts of one job, run by a separate daemon until it is idle."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QMRUNNER_")}
    environment |= {"QMRUNNER_HOME": str(folder), "QMRUNNER_CONFINE": mode}

    def qmrunner(*words: str) -> str:
        argv = [sys.executable, "-m", "qmrunner", *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=900).stdout

    job = json.loads(qmrunner("submit", "nmr", smiles, "--json"))["id"]
    qmrunner("run", "--until-idle")
    why = json.loads(qmrunner("why", job, "--json"))
    assert why["state"] == "succeeded", why
    held = [note for attempt in why["attempts"] for note in attempt["notes"] if note.startswith("confinement")]
    assert all(("landlock" in note) == (mode == "require") for note in held), held
    usage = [attempt["usage"] for attempt in why["attempts"]]
    return sum(record["wall_s"] for record in usage), sum(record["cpu_s"] for record in usage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smiles", default="CCO")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as root:
        for number in range(options.rounds):
            for mode in MODES if number % 2 == 0 else reversed(MODES):
                taken[mode].append(makespan_s(mode, options.smiles, Path(root, f"{mode}-{number}")))
    wall, cpu = (
        {mode: statistics.median(values[at] for values in rows) for mode, rows in taken.items()} for at in (0, 1)
    )
    ratios = {"wall": wall["require"] / wall["off"], "cpu": cpu["require"] / cpu["off"]}
    if options.json:
        print(json.dumps({"rounds": options.rounds, "wall_s": wall, "cpu_s": cpu, "ratio": ratios, "aim": AIM}))
        return
    for name, figures in (("wall", wall), ("CPU", cpu)):
        print(f"{name:<4} confined {figures['require']:.2f} s, not confined {figures['off']:.2f} s")
    print(f"ratio of wall {ratios['wall']:.3f}, of CPU {ratios['cpu']:.3f} (aim {AIM})")


if __name__ == "__main__":
    main()
