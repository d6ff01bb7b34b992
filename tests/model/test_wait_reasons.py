"""What a step lacks, in words that can be acted on."""

from __future__ import annotations

import pytest

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity, Free
from qmrunner.model.wait_reasons import flag_size, never_fits, shortages, size, waits_for


def test_a_waiting_step_names_the_resource_and_the_amount() -> None:
    short = shortages(Demand(1, 1, 0, 64, scratch_mib=900), Free(1, 1, 64, 512, 0))
    assert waits_for(short, 3) == "900 MiB of scratch (512 MiB free) on worker 3"


def test_what_is_less_than_nothing_free_is_reported_as_nothing() -> None:
    short = shortages(Demand(2, 2, 0, 64, 64, 10), Free(1, 1, 64, -7, -1))
    assert waits_for(short, 1) == "2 core(s) (1 free) and 64 MiB of scratch (0 MiB free) and " \
        "10 MiB of /dev/shm (0 MiB free) on worker 1"  # fmt: skip


def test_too_little_shared_memory_names_the_flag_to_paste() -> None:
    demand = Demand(1, 4, 0, 64, 64, shm_mib=3584)
    summary, remedy = never_fits("shielding-c1", "abc", demand, [Capacity(1, 4, 9000, 9000, 61)])
    assert summary == "shielding-c1 needs 3.5 GiB of /dev/shm; the best worker has 61 MiB"
    assert remedy == "run the container with `--shm-size 4g`; then `qmrunner release abc`"


def test_the_worker_that_comes_nearest_is_the_one_to_change() -> None:
    demand = Demand(8, 8, 100, 0, scratch_mib=5000)
    summary, remedy = never_fits("s", "j", demand, [Capacity(1, 2, 100, 100), Capacity(1, 8, 700, 9000)])
    assert summary == "s needs 800 MiB of memory; the best worker has 700 MiB"
    assert "`--memory 1g`" in remedy
    assert "QMRUNNER_MEMORY_MIB not below 800" in remedy


def test_everything_that_is_missing_is_named() -> None:
    _, remedy = never_fits("s", "j", Demand(8, 8, 0, 64, scratch_mib=5000), [Capacity(1, 2, 100, 100, 100)])
    assert "`--cpus 8`" in remedy
    assert "QMRUNNER_SCRATCH on a volume of 5.1 GiB or more" in remedy


@pytest.mark.parametrize(("mib", "text"), [(1, "64m"), (65, "128m"), (512, "512m"), (513, "1g"), (3584, "4g")])
def test_sizes_for_flags_are_rounded_up(mib: float, text: str) -> None:
    assert flag_size(mib) == text


@pytest.mark.parametrize(("mib", "text"), [(64, "64 MiB"), (1023.4, "1023 MiB"), (3584, "3.5 GiB")])
def test_sizes_for_people(mib: float, text: str) -> None:
    assert size(mib) == text
