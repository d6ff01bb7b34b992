"""How many pilots are started: from what squeue prints and from what unfinished jobs can use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model.jobs import Demand
from qmrunner.slurm import pilots
from qmrunner.slurm.pilots import Need, SlurmPilot

RUNS, WAITS = SlurmPilot("1", False, 16), SlurmPilot("2", True, 16)
STUCK = SlurmPilot("3", True, 16, "JobHeldUser")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("7|RUNNING|16|None", SlurmPilot("7", False, 16)),
        ("7_2|PENDING|16|Resources", SlurmPilot("7_2", True, 16)),
        ("7|PENDING|16|Priority", SlurmPilot("7", True, 16)),
        ("7|PENDING|16|Dependency", SlurmPilot("7", True, 16)),
        ("7|PENDING|16|BeginTime", SlurmPilot("7", True, 16)),
        ("7|PENDING|16|QOSMaxJobsPerUserLimit", SlurmPilot("7", True, 16)),
        ("7|CONFIGURING|16|None", SlurmPilot("7", True, 16)),
        ("7|REQUEUED|16|None", SlurmPilot("7", True, 16)),
        ("7|PENDING|16|JobHeldUser", SlurmPilot("7", True, 16, "JobHeldUser")),
        ("7|PENDING|16|JobHeldAdmin", SlurmPilot("7", True, 16, "JobHeldAdmin")),
        ("7|PENDING|16|launch failed requeued held", SlurmPilot("7", True, 16, "launch failed requeued held")),
        ("7|PENDING|16|DependencyNeverSatisfied", SlurmPilot("7", True, 16, "DependencyNeverSatisfied")),
        ("7|PENDING|16|BadConstraints", SlurmPilot("7", True, 16, "BadConstraints")),
        ("7|PENDING|16|InvalidAccount", SlurmPilot("7", True, 16, "InvalidAccount")),
        ("7|PENDING|16|AccountNotAllowed", SlurmPilot("7", True, 16, "AccountNotAllowed")),
        ("7|PENDING|16|PartitionTimeLimit", SlurmPilot("7", True, 16, "PartitionTimeLimit")),
        ("7|REQUEUE_HOLD|16|x", SlurmPilot("7", True, 1, "REQUEUE_HOLD")),
        ("7|SUSPENDED|16|None", None),
        ("7|COMPLETING|16|None", None),
        ("7|COMPLETED|16|None", None),
        ("7|NODE_FAIL|16|None", None),
        ("7|RUNNING||", SlurmPilot("7", False, 1)),
        ("slurm_load_jobs error: nonsense", None),
        ("", None),
    ],
)
def test_every_state_of_a_pilot_is_one_that_works_waits_never_starts_or_does_not_count(
    line: str, expected: SlurmPilot | None
) -> None:
    assert pilots.read(line + "\n") == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("known", "useful", "most", "need"),
    [
        ([], 0, 8, Need()),
        ([], 1, 8, Need(1)),
        ([], 16, 8, Need(1)),
        ([], 17, 8, Need(2)),
        ([], 1000, 8, Need(8)),
        ([RUNS], 16, 8, Need(successor=True)),
        ([RUNS, WAITS], 16, 8, Need()),
        ([WAITS], 16, 8, Need()),
        ([WAITS], 40, 8, Need(2)),
        ([RUNS, RUNS], 40, 2, Need(successor=True)),
        ([STUCK], 16, 8, Need(1)),
        ([STUCK, RUNS], 16, 8, Need(successor=True)),
        ([RUNS], 0, 8, Need()),
    ],
)
def test_new_pilots_and_successors(known: list[SlurmPilot], useful: int, most: int, need: Need) -> None:
    assert pilots.needed(known, useful, 16, most) == need


_PILOTS = st.lists(st.sampled_from([RUNS, WAITS, STUCK, SlurmPilot("4", False, 4)]), max_size=12)


@given(_PILOTS, st.integers(1, 500), st.integers(1, 64), st.integers(1, 10))
def test_with_work_a_pilot_will_start_after_the_submission(
    known: list[SlurmPilot], useful: int, each: int, most: int
) -> None:
    """A waiting one, a new one, or a successor: a running one alone may be about to end."""
    need = pilots.needed(known, useful, each, most)
    waits = any(pilot.waits and pilot.stuck is None for pilot in known)
    assert waits or need.new > 0 or need.successor
    assert not (need.new and need.successor)
    alive = sum(pilot.stuck is None for pilot in known)
    assert need.new <= max(0, most - alive)


WIDE, ONE = Demand(cores_min=1, cores_max=8), Demand()


@pytest.mark.parametrize(
    ("jobs", "cores"),
    [
        ([], 0),
        ([([ONE], [])], 1),
        ([([ONE], [WIDE, ONE])], 8),
        ([([ONE] * 30, [WIDE])], 30),
        ([([Demand(cores_min=1, cores_max=64)], [])], 16),
        ([([Demand(cores_min=32, cores_max=32)], [])], 16),
        ([([ONE], [WIDE])] * 5, 40),
        ([([ONE], [WIDE])] * 5000, 128),
    ],
)
def test_a_job_counts_as_its_ready_steps_or_its_largest_step(
    jobs: list[tuple[list[Demand], list[Demand]]], cores: int
) -> None:
    assert pilots.useful_cores(jobs, 16, 128) == cores
