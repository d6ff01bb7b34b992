"""How long others wait for the API while one token submits 45 molecules that take minutes to check.

    python benchmarks/strangers.py [--rounds 5]

A server on a home in a temporary folder; the engines are `/bin/true`. In each round another token submits a deck and a
molecule and lists the jobs, first with the server to itself, then beside the 45. Milliseconds, median and worst.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.api.lab import XTB, served
from tests.api.test_load import SLOW, Shared
from tests.support import Home, wait_for

SENDERS = 45
ASKED = {
    "submit a structure": ("POST", "/v1/jobs", {"json": XTB}),
    "submit a molecule": ("POST", "/v1/jobs", {"json": {"kind": "nmr", "smiles": "CCO"}}),
    "list the jobs": ("GET", "/v1/jobs", {}),
}
ENGINES = {"QMRUNNER_API_RATE_PER_MINUTE": "100000", "QMRUNNER_XTB": "/bin/true", "QMRUNNER_NWCHEM": "/bin/true"}


def times_ms(shared: Shared, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {what: [] for what in ASKED}
    for _ in range(rounds):
        for what, (method, path, more) in ASKED.items():
            began = time.monotonic()
            answer = shared.ask("other", method, path, **more)
            found[what].append(1000 * (time.monotonic() - began))
            assert answer.status_code in (200, 201), answer.text
    return found


@contextmanager
def beside_many(shared: Shared) -> Iterator[None]:
    """45 slow molecules of one token: what is over its share was refused, the rest is being checked."""
    answers: list[int] = []

    def send() -> None:
        try:
            answers.append(shared.ask("hog", "POST", "/v1/jobs", json=SLOW).status_code)
        except httpx.HTTPError:
            return  # the server has ended

    senders = [threading.Thread(target=send, daemon=True) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    wait_for(lambda: len(answers) >= 9, 60.0, "the answers to what is over the share")
    assert set(answers) == {429}
    yield
    shared.server.process.kill()
    for sender in senders:
        sender.join(30.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, served(Home(Path(folder) / "home", ENGINES)) as server:
        shared = Shared(server)
        times_ms(shared, 1)  # the first ones load what is loaded once
        alone = times_ms(shared, rounds)
        with beside_many(shared):
            beside = times_ms(shared, rounds)
    print(f"{'':20} {'alone':>16} {'beside 45':>16}   (bar 2000)")
    for what in ASKED:
        shown = [f"{statistics.median(all_ms):6.0f} {max(all_ms):6.0f}" for all_ms in (alone[what], beside[what])]
        print(f"{what:20} {shown[0]:>16} {shown[1]:>16}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
