"""Servers killed, restarted, failed over and emptied, and machines lost for good or with wrong clocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.machines import Site
from tests.faults.network import POSTGRES, STANDBY, Network
from tests.faults.servers import Postgres, Redis

Sites = Callable[..., Site]
pytestmark = pytest.mark.faults


def test_a_killed_postgresql_that_comes_back_costs_no_attempt(sites: Sites, postgres: Postgres) -> None:
    site = sites()
    jobs = site.submit(4, seconds=8)
    site.wait_until_busy()
    postgres.kill()
    site.hold(5.0)
    postgres.start()
    site.submit(2, seconds=1)
    site.wait_for_all()
    print(f"recovered after {site.recovery_s:.1f} s")
    assert site.findings() == {}
    assert {step["attempt"] for job in jobs for step in site.client.job(job)["steps"]} == {1}


def test_postgresql_killed_again_and_again_loses_nothing(sites: Sites, postgres: Postgres) -> None:
    site = sites()
    for _ in range(4):
        site.submit(4, seconds=1)
        site.hold(1.5)
        postgres.kill()
        site.hold(0.5)
        postgres.start()
    site.wait_for_all()
    assert site.findings() == {}


def test_a_failover_to_a_standby_loses_nothing(sites: Sites, network: Network, postgres: Postgres) -> None:
    standby = Postgres(network, STANDBY).standby_of(postgres)
    try:
        site = sites()
        jobs = site.submit(4, seconds=8)
        site.wait_until_busy()
        postgres.kill()
        site.hold(2.0)
        standby.promote()
        network.redirect(POSTGRES, STANDBY)
        site.submit(2, seconds=1)
        site.wait_for_all()
        print(f"recovered after {site.recovery_s:.1f} s")
        assert site.findings() == {}
        assert {step["attempt"] for job in jobs for step in site.client.job(job)["steps"]} == {1}
    finally:
        network.forget_redirects()
        standby.close()


def test_a_redis_that_is_emptied_killed_and_started_again_only_delays(sites: Sites, redis: Redis) -> None:
    site = sites()
    site.submit(6, seconds=2)
    site.wait_until_busy()
    redis.flush()
    site.submit(2, seconds=1)
    redis.kill()
    site.submit(4, seconds=1)
    site.hold(6.0)
    redis.start()
    site.submit(2, seconds=1)
    site.wait_for_all()
    print(f"recovered after {site.recovery_s:.1f} s")
    assert site.findings() == {}
    assert site.condemned() == 0


def test_without_redis_ready_steps_are_still_run(sites: Sites, redis: Redis) -> None:
    site = sites()
    redis.kill()
    site.submit(6, seconds=1)
    site.wait_for_all()
    print(f"done after {site.recovery_s:.1f} s")
    assert site.findings() == {}
    redis.start()


def test_the_work_of_a_machine_that_is_lost_for_good_is_done_by_another(sites: Sites) -> None:
    site = sites()
    site.submit(6, seconds=4)
    site.wait_until_busy()
    site.machines[0].die_for_good()
    site.wait_for_all()
    print(f"recovered after {site.recovery_s:.1f} s")
    assert site.findings() == {}
    assert site.condemned() == 1


@pytest.mark.parametrize("shift_s", [3600.0, -3600.0], ids=["ahead", "behind"])
def test_clocks_an_hour_apart_condemn_no_worker_and_delay_nothing(sites: Sites, shift_s: float) -> None:
    site = sites(shift_s=shift_s)
    jobs = site.submit(8, seconds=2)
    site.wait_until_busy()
    assert abs(site.machines[0].clock() - site.machines[1].clock() - shift_s) < 60.0
    site.wait_for_all(60.0)
    assert '"consumer_died"' not in site.machines[0].said()
    assert site.findings() == {}
    assert site.condemned() == 0
    assert {step["attempt"] for job in jobs for step in site.client.job(job)["steps"]} == {1}


@pytest.mark.parametrize("shift_s", [3600.0, -3600.0], ids=["ahead", "behind"])
def test_a_machine_with_a_wrong_clock_that_is_lost_leaves_nothing_to_wait_for(sites: Sites, shift_s: float) -> None:
    site = sites(shift_s=shift_s)
    site.submit(6, seconds=4)
    site.wait_until_busy()
    site.machines[0].die_for_good()
    site.wait_for_all()
    assert site.findings() == {}
