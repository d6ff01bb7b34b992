"""Machines cut off from PostgreSQL, from Redis or from both, one way too, and packets lost: no work is."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.machines import LEASE_S, Site
from tests.faults.network import POSTGRES, REDIS, Direction, Network
from tests.support import wait_for

Sites = Callable[..., Site]
LONG_S = LEASE_S + 6.0


@pytest.mark.slow
def test_a_machine_cut_off_for_longer_than_its_lease_costs_time_and_no_truth(sites: Sites, network: Network) -> None:
    site = sites()
    site.submit(6, seconds=3)
    site.wait_until_busy()
    network.drop(1, POSTGRES)
    site.hold_until_condemned()
    network.heal(1)
    site.submit(2, seconds=1)
    site.wait_for_all()
    assert site.findings() == {}
    assert site.condemned() == 1


@pytest.mark.faults
@pytest.mark.parametrize("direction", ["both", "in", "out"])
@pytest.mark.parametrize("ports", [(POSTGRES,), (REDIS,), (POSTGRES, REDIS)], ids=["postgres", "redis", "either"])
def test_no_partition_loses_or_doubles_anything(
    sites: Sites, network: Network, ports: tuple[int, ...], direction: Direction
) -> None:
    site = sites()
    site.submit(8, seconds=3)
    site.wait_until_busy()
    for port in ports:
        network.drop(1, port, direction)
    if POSTGRES in ports:
        site.hold_until_condemned()
    else:
        site.hold(LONG_S)
    site.submit(2, seconds=1)
    network.heal(1)
    site.wait_for_all()
    print(f"recovered after {site.recovery_s:.1f} s")
    assert site.findings() == {}
    # A worker that still reaches the store is not lost.
    assert site.condemned() == (1 if POSTGRES in ports else 0)


@pytest.mark.faults
def test_a_cut_shorter_than_the_lease_loses_no_attempt(sites: Sites, network: Network) -> None:
    site = sites()
    jobs = site.submit(4, seconds=6)
    site.wait_until_busy()
    for port in (POSTGRES, REDIS):
        network.drop(1, port)
    site.hold(LEASE_S / 2)
    network.heal(1)
    site.wait_for_all()
    assert site.findings() == {}
    assert {step["attempt"] for job in jobs for step in site.client.job(job)["steps"]} == {1}


@pytest.mark.faults
def test_thirty_seconds_of_lost_packets_lose_nothing_else(sites: Sites, network: Network) -> None:
    site = sites()
    site.submit(10, seconds=3)
    site.wait_until_busy()
    for number in (1, 2):
        network.lose(number, 0.3)
    site.hold(30.0)
    for number in (1, 2):
        network.heal(number)
    site.wait_for_all()
    print(f"recovered after {site.recovery_s:.1f} s")
    assert site.findings() == {}


@pytest.mark.faults
def test_a_fenced_worker_that_cannot_register_again_waits_until_it_can(sites: Sites, network: Network) -> None:
    site = sites()
    site.submit(4, seconds=3)
    site.wait_until_busy()
    first, other = site.machines
    network.drop(1, POSTGRES)
    wait_for(lambda: '"worker_lost"' in other.said(), 60.0, "the verdict of the other worker")
    first.signal(signal.SIGSTOP)  # so that the supervisor sees the end of its consumer only when we want it to
    network.heal(1)
    log = first.home.settings.run_root / "events.jsonl"
    wait_for(lambda: '"worker_fenced"' in log.read_text(), 60.0, "the fenced worker to notice")
    wait_for(lambda: not first.consumers(), 30.0, "the end of its consumer")
    network.drop(1, POSTGRES)
    first.signal(signal.SIGCONT)
    wait_for(lambda: '"worker_waits"' in first.said(), 60.0, "a try to register without a store")
    network.heal(1)
    wait_for(lambda: first.said().count('"consumer_started"') == 2, 60.0, "its new beginning")
    site.wait_for_all()
    assert site.findings() == {}
