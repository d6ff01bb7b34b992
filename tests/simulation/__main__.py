"""`python -m tests.simulation --schedules 100000 --seed 1`: as many schedules as asked for, on all cores."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.schedules import run

_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule; each next one has the next number")
    chosen = parser.parse_args()
    began = time.monotonic()
    problems = run(chosen.seed, chosen.schedules)
    print(f"{chosen.schedules} schedules in {time.monotonic() - began:.0f} s, {len(problems)} broken")
    for problem in problems[:_SHOWN]:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
