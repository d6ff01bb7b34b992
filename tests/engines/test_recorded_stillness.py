"""The hang judge on recorded runs, slowed down: none that lives is called hung, the recorded hangs are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from qmrunner.engines.nwchem.progress import NWChemReader
from qmrunner.model.hang_detection import Bounds, HangDetector, Observation, ProcessSample, Verdict
from tests.engines.support import FIXTURES

NWCHEM = FIXTURES / "nwchem"
LIVING = [path for path in sorted(NWCHEM.iterdir()) if path.name.startswith("ok-") and (path / "timing.tsv").exists()]
LOOK_S = 2.0


class Replay:
    """A recorded run, `slower` times as slow, as the watch sees it every two seconds. Its two ranks compute."""

    def __init__(self, folder: Path, reader: NWChemReader, slower: float) -> None:
        rows = [row.split("\t") for row in (folder / "timing.tsv").read_text().splitlines()[1:]]
        self.times = [float(row[0]) * slower for row in rows]
        self.sizes = [int(row[1]) for row in rows]
        self.text = (folder / "stdout.txt").read_bytes()
        self.reader = reader
        self.iteration_times: list[float] = []

    def looks(self, states: str, until: float) -> Iterator[Observation]:
        iterations, iterating, phase, offset, at = 0, False, None, 0, 0.0
        while at <= until:
            shown = bisect_right(self.times, at) - 1
            size = self.sizes[shown] if shown >= 0 else 0
            for line in self.text[offset:size].decode(errors="replace").splitlines():
                progress = self.reader.feed(line)
                iterating = progress is not None and progress.iteration is not None if line.strip() else iterating
                if progress is not None:
                    phase = progress.phase or phase
                    if progress.iteration is not None:
                        iterations += 1
                        self.iteration_times.append(self.times[shown])
            offset = size
            states_now = "RR" if at <= self.times[-1] else states
            ranks = tuple(ProcessSample(pid, "nwchem", s, at if s == "R" else 0.0) for pid, s in enumerate(states_now))
            yield Observation(at, offset, iterations, phase, iterating, cpu_s=2 * at, processes=ranks)
            at += LOOK_S


@pytest.mark.parametrize("slower", [1.0, 60.0, 600.0])
@pytest.mark.parametrize("folder", LIVING, ids=lambda path: path.name)
def test_no_successful_run_is_called_hung_however_slow(folder: Path, slower: float) -> None:
    replay = Replay(folder, NWChemReader(), slower)
    judge = HangDetector(Bounds())
    states = {judge.observe(look).state for look in replay.looks("RR", replay.times[-1])}
    assert states <= {"living", "quiet"}


@pytest.mark.parametrize("slower", [60.0, 300.0])
@pytest.mark.parametrize("name", ["rank-stopped-hang", "rank-stopped-hang-openmpi5"])
def test_a_recorded_stopped_rank_is_caught_within_three_median_steps(name: str, slower: float) -> None:
    replay = Replay(NWCHEM / name, NWChemReader(), slower)
    caught, at = first_hang(replay, "RT", replay.times[-1] + 3000.0)
    steps = [after - before for before, after in zip(replay.iteration_times, replay.iteration_times[1:], strict=False)]
    assert caught.kind == "stopped"
    assert 0.0 < at - replay.times[-1] <= max(3 * median(steps), Bounds().floor_s + 3 * LOOK_S)


def test_a_recorded_deadlock_because_of_too_little_shared_memory_is_caught() -> None:
    """Its ranks poll for each other, after the last line of a phase without iterations."""
    replay = Replay(NWCHEM / "container-shm-2m-nmr-hang", NWChemReader(), 1.0)
    caught, at = first_hang(replay, "RR", 30000.0)
    assert caught.kind == "spinning"
    assert at >= Bounds().busy_s


def first_hang(replay: Replay, states: str, until: float) -> tuple[Verdict, float]:
    judge = HangDetector(Bounds())
    for look in replay.looks(states, until):
        verdict = judge.observe(look)
        if verdict.state == "hung":
            return verdict, look.at_s
    raise AssertionError("not called hung")
