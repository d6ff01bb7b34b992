"""A step is hung when nothing of it has moved for longer than its processes, its phase and its history explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.model.hang_detection import (
    Bounds,
    HangDetector,
    Observation,
    Pace,
    ProcessSample,
    Verdict,
    pace_from,
    remedy,
    sentence,
)

BOUNDS = Bounds(floor_s=60.0, quiet_s=600.0, busy_s=21600.0)
MPIRUN = ProcessSample(10, "mpirun", "S", 0.1)


class Run:
    """A step as the guardian sees it every two seconds."""

    def __init__(self, **judge: object) -> None:
        self.judge = HangDetector(BOUNDS, **judge)  # type: ignore[arg-type]
        self.now = Observation(0.0, 100, processes=(MPIRUN,))
        self.verdict = self.judge.observe(self.now)

    def look(self, every_s: float = 2.0, **changed: object) -> Verdict:
        self.now = replace(self.now, at_s=self.now.at_s + every_s, **changed)  # type: ignore[arg-type]
        self.verdict = self.judge.observe(self.now)
        return self.verdict

    def tree(self, states: str, share: float = 1.0, every_s: float = 2.0) -> dict[str, object]:
        """Ranks in these states; those in R use `share` of a core."""
        old = {one.pid: one for one in self.now.processes}
        ranks = []
        for pid, state in enumerate(states, 20):
            before = old[pid].cpu_s if pid in old else 0.0
            ranks.append(ProcessSample(pid, "nwchem", state, before + (share * every_s if state == "R" else 0.0)))
        used = sum(one.cpu_s for one in ranks)
        return {"processes": (MPIRUN, *ranks), "cpu_s": max(self.now.cpu_s, used)}

    def iterate(self, times: int, every_s: float, phase: str = "scf") -> None:
        """So many reported iterations, each after `every_s` of computing."""
        for _ in range(times):
            for _ in range(int(every_s / 2) - 1):
                assert self.look(**self.tree("RR")).state != "hung"
            told = {"output_bytes": self.now.output_bytes + 80, "iterations": self.now.iterations + 1}
            assert self.look(phase=phase, iterating=True, **told, **self.tree("RR")).state == "living"

    def until_hung(self, limit_s: float, **changed: object) -> float:
        """Seconds of unchanged looks until it is called hung."""
        begun = self.now.at_s
        while self.now.at_s - begun < limit_s:
            if self.look(**changed).state == "hung":  # type: ignore[arg-type]
                return self.now.at_s - begun
        raise AssertionError(f"not called hung within {limit_s:g} s: {self.verdict}")

    def until_hung_computing(self, limit_s: float, every_s: float = 4.0) -> float:
        begun = self.now.at_s
        while self.now.at_s - begun < limit_s:
            if self.look(every_s, **self.tree("RR", every_s=every_s)).state == "hung":  # type: ignore[arg-type]
                return self.now.at_s - begun
        raise AssertionError(f"not called hung within {limit_s:g} s: {self.verdict}")


# -- what is a hang ---------------------------------------------------------------------------------------------------


def test_a_stopped_rank_among_polling_ones_is_caught_within_three_median_steps() -> None:
    run = Run()
    run.iterate(6, 40.0)
    begun = run.now.at_s
    while run.look(**run.tree("RT")).state != "hung":  # type: ignore[arg-type]
        assert run.now.at_s - begun < 3 * 40.0
    assert (run.verdict.kind, [one.pid for one in run.verdict.culprits]) == ("stopped", [21])


def test_a_stopped_rank_of_fast_iterations_is_not_called_hung_before_the_floor() -> None:
    run = Run()
    run.iterate(6, 2.0)
    assert run.look(**run.tree("RT")).state == "quiet"  # type: ignore[arg-type]
    for _ in range(29):
        assert run.look(**run.tree("RT")).state == "still"  # type: ignore[arg-type]
    assert run.look(**run.tree("RT")).state == "hung"  # type: ignore[arg-type]


def test_a_stopped_rank_of_endless_iterations_is_called_hung_after_the_quiet_bound_at_the_latest() -> None:
    run = Run(past={"scf": Pace(9, 86400.0, 90000.0)})
    run.look(phase="scf")
    run.look(**run.tree("RT"))  # type: ignore[arg-type]
    assert run.until_hung(700.0, **run.tree("RT")) <= 610.0


def test_sleepers_that_use_no_cpu_are_called_idle_after_the_quiet_bound() -> None:
    run = Run()
    assert 598.0 <= run.until_hung(700.0, **run.tree("SS")) <= 606.0
    assert run.verdict.kind == "idle"


def test_exact_bounds_do_not_grow_with_what_the_step_has_survived() -> None:
    judge = HangDetector(Bounds(2.0, 10.0, float("inf"), exact=True))
    now = Observation(0.0, 100, processes=(MPIRUN,))
    judge.observe(now)
    for silent_s in (8.0, 8.0, 12.0):
        now = replace(now, output_bytes=now.output_bytes + 1, at_s=now.at_s + 2.0)
        judge.observe(now)
        verdicts = []
        for _ in range(int(silent_s / 2)):
            now = replace(now, at_s=now.at_s + 2.0)
            verdicts.append(judge.observe(now).state)
        assert ("hung" in verdicts) is (silent_s > 10.0)


def test_a_process_that_waits_for_a_file_server_is_called_blocked_after_three_times_that() -> None:
    run = Run()
    run.look(**run.tree("RD"))  # type: ignore[arg-type]
    begun = run.now.at_s
    while run.look(**run.tree("RD")).state != "hung":  # type: ignore[arg-type]
        assert run.now.at_s - begun < 2000.0
    assert run.now.at_s - begun >= 1790.0
    assert (run.verdict.kind, [one.pid for one in run.verdict.culprits]) == ("blocked", [21])


def test_ranks_that_spin_between_iterations_are_caught_sooner_than_a_silent_phase() -> None:
    run = Run()
    run.iterate(5, 4.0)
    assert 3590.0 <= run.until_hung_computing(4000.0) <= 3620.0
    assert run.verdict.kind == "spinning"
    silent = Run()
    silent.look(phase="shielding integrals", output_bytes=200)
    assert 21590.0 <= silent.until_hung_computing(22000.0) <= 21620.0


def test_slow_iterations_give_a_silent_computation_thirty_times_as_long() -> None:
    run = Run()
    run.iterate(4, 600.0)
    assert run.until_hung_computing(20000.0, 5.0) >= 17990.0


# -- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", ["RR", "RS", "DR"])
def test_ten_minutes_of_silent_computing_are_no_hang(states: str) -> None:
    run = Run()
    run.iterate(6, 2.0)
    for second in range(0, 620, 2):
        changed = run.tree(states)
        if states == "DR":  # swapping: each process gets a little further
            moved = [replace(one, cpu_s=second / 100) for one in changed["processes"]]  # type: ignore[attr-defined]
            changed["processes"] = tuple(moved)
        assert run.look(**changed).state in ("quiet", "living")  # type: ignore[arg-type]


def test_a_runnable_process_that_gets_no_cpu_is_not_idle() -> None:
    """A machine that is overloaded, or a container whose quota is used up."""
    run = Run()
    for _ in range(400):
        assert run.look(**run.tree("R", share=0.0)).state == "quiet"  # type: ignore[arg-type]


def test_files_that_grow_are_a_sign_of_life() -> None:
    run = Run()
    for step in range(1000):
        assert run.look(scratch_mib=step // 200, **run.tree("SS")).state != "hung"  # type: ignore[arg-type]


def test_a_process_that_is_continued_was_not_hung() -> None:
    run = Run()
    for _ in range(20):
        for _ in range(20):
            assert run.look(**run.tree("T")).state in ("still", "quiet")  # type: ignore[arg-type]
        run.look(**run.tree("R"))  # type: ignore[arg-type]


def test_a_step_that_was_idle_for_long_and_continued_is_given_three_times_as_long() -> None:
    run = Run(survived_s={"idle": 500.0})
    assert run.until_hung(1600.0, **run.tree("SS")) >= 1490.0


def test_a_machine_or_consumer_that_stalled_condemns_no_step() -> None:
    run = Run()
    for _ in range(29):
        run.look(**run.tree("TS"))  # type: ignore[arg-type]
    assert run.look(86400.0, **run.tree("TS")).state == "living"  # type: ignore[arg-type]
    for _ in range(29):
        assert run.look(**run.tree("TS")).state != "hung"  # type: ignore[arg-type]


def test_time_that_was_not_witnessed_counts_nothing() -> None:
    run = Run()
    for _ in range(1000):
        assert run.look(25.0, **run.tree("TS")).state != "hung"  # type: ignore[arg-type]


def test_the_same_look_again_adds_nothing() -> None:
    run = Run()
    assert all(run.judge.observe(run.now).state != "hung" for _ in range(5000))


def test_a_tree_that_was_not_seen_condemns_no_step_before_the_busy_bound() -> None:
    run = Run()
    for _ in range(1000):
        assert run.look(processes=()).state == "quiet"


# -- history ----------------------------------------------------------------------------------------------------------


def test_what_a_restarted_consumer_reads_at_once_is_no_pace() -> None:
    run = Run()
    run.look(iterations=50, output_bytes=5000, phase="scf", caught_up=False)
    run.look(iterations=90, output_bytes=9000, phase="scf", caught_up=True)
    assert run.judge.paces() == {}
    run.iterate(3, 10.0)
    assert run.judge.pace("scf") == Pace(3, 10.0, 10.0)


def test_the_pace_of_earlier_attempts_counts_until_there_is_an_own_one() -> None:
    past = Pace(20, 30.0, 90.0)
    run = Run(past={"scf": past})
    assert run.judge.pace("scf") == past
    run.iterate(4, 8.0)
    assert run.judge.pace("scf") == Pace(3, 8.0, 90.0)
    assert pace_from({"count": 20, "median_s": 30.0, "longest_s": 90.0}) == past
    assert pace_from({"count": 20}) is None


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stopped", "idle", "blocked", "spinning"])
def test_a_verdict_names_the_processes_and_what_can_be_done(kind: str) -> None:
    ranks = tuple(ProcessSample(pid, "nwchem", "S", 1.0) for pid in range(40, 45))
    said = sentence(Verdict("hung", kind, 70.0, 60.0, 140.0, ranks))  # type: ignore[arg-type]
    assert said.startswith(kind)
    assert "40 (nwchem), 41 (nwchem), 42 (nwchem) and 2 more" in said
    assert "70 s" in said
    assert "retried" in remedy(said)
    assert remedy(said) != remedy("")


# -- any schedule -----------------------------------------------------------------------------------------------------

LETTERS = st.sampled_from("RSDTt")
LOOKS = st.lists(st.tuples(st.floats(0.05, 40.0), LETTERS, LETTERS, st.booleans()), max_size=80)


@given(LOOKS, st.floats(0.0, 1.0))
def test_no_step_that_reports_iterations_within_the_floor_is_called_hung(
    looks: list[tuple[float, str, str, bool]], share: float
) -> None:
    """However irregular they come, and whatever its processes look like in between."""
    run, silent_s = Run(), 0.0
    for every_s, one, two, told in looks:
        told = told or silent_s + every_s >= BOUNDS.floor_s
        silent_s = 0.0 if told else silent_s + every_s
        more = {"iterations": run.now.iterations + told, "output_bytes": run.now.output_bytes + 80 * told}
        verdict = run.look(every_s, phase="scf", iterating=True, **more, **run.tree(one + two, share, every_s))
        assert verdict.state != "hung"


@given(LOOKS)
def test_no_step_that_computes_is_called_hung_before_a_sixth_of_the_busy_bound(
    looks: list[tuple[float, str, str, bool]],
) -> None:
    run, silent_s = Run(), 0.0
    for every_s, _, _, told in looks:
        silent_s = 0.0 if told else silent_s + every_s
        more = {"iterations": run.now.iterations + told, "output_bytes": run.now.output_bytes + 80 * told}
        verdict = run.look(every_s, phase="scf", iterating=True, **more, **run.tree("RS", 1.0, every_s))
        assert verdict.state != "hung" or silent_s >= BOUNDS.busy_s / 6


@settings(deadline=None, max_examples=30)
@given(st.sampled_from("TSDR"), st.floats(0.5, 5.0))
def test_every_stillness_is_caught_in_the_end(letter: str, every_s: float) -> None:
    run = Run()
    run.iterate(4, 6.0)
    looks: Callable[[], Verdict] = lambda: run.look(every_s, **run.tree(letter, 1.0, every_s))  # type: ignore[arg-type]  # noqa: E731
    bound_s = {"T": 60.0, "S": 600.0, "D": 1800.0, "R": 3600.0}[letter]
    begun = run.now.at_s
    while looks().state != "hung":
        assert run.now.at_s - begun <= bound_s + 4 * every_s
