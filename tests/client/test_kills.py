"""A server that is killed while a client waits, follows a log and submits: the client loses nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qmrunner.client import AsyncClient, Client, LogLine
from tests.api.lab import served
from tests.client.lab import STAND_IN, WATER, LosingProxy, log_of, mortal
from tests.support import Daemon, Home, wait_for

KILLS = 10


@pytest.fixture
def gated(home: Home) -> Home:
    """A home whose xTB prints lines until the file `gate` exists."""
    home.extra |= {
        "QMRUNNER_XTB": str(STAND_IN), "STAND_IN_GATE": str(home.path.parent / "gate"),
        "QMRUNNER_API_RATE_PER_MINUTE": "100000",
    }  # fmt: skip
    return home


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_kills_of_the_server_cost_waiting_clients_nothing(gated: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    lines: list[LogLine] = []
    events: list[str] = []
    with mortal(gated) as server, ThreadPoolExecutor(4) as threads, Client(server.url) as client:
        job = client.submit_xtb(WATER.format("gate=1"))

        def follow() -> None:
            with Client(server.url) as own:
                for line in own.job(job.id).logs("xtb", follow=True):
                    lines.append(line)

        def watch() -> None:
            with Client(server.url) as own:
                events.extend(event.name for event in own.job(job.id).events(follow=True))

        async def wait() -> float | None:
            async with AsyncClient(server.url) as own:
                found = await own.job(job.id)
                return (await (await found.wait(timeout=500)).result).energy_hartree

        work = [
            threads.submit(lambda: job.wait(timeout=500).result.energy_hartree),
            threads.submit(lambda: asyncio.run(wait())),
            threads.submit(follow),
            threads.submit(watch),
        ]
        try:
            for _ in range(KILLS):
                seen = len(lines)
                wait_for(lambda seen=seen: len(lines) > seen + 3, 60.0, "lines after the start of a server")
                server.kill()
        finally:
            Path(gated.extra["STAND_IN_GATE"]).touch()
        energies = [one.result(120) for one in work[:2]]
        for one in work[2:]:
            one.result(120)
        assert energies == [-5.070544440612] * 2
        assert [one.id for one in client.jobs()] == [job.id]
        assert [line.text for line in lines] == log_of(gated, job.id)
        assert events == ["job_accepted", "step_claimed", "attempt_succeeded", "job_succeeded"]


@pytest.mark.timeout(300)
def test_submissions_during_kills_are_one_job_each(gated: Home) -> None:
    with mortal(gated) as server, Client(server.url, patience=200.0) as client:
        over = threading.Event()

        def kill() -> None:
            for seconds in (0.3, 1.0, 2.0, 4.0):
                if over.wait(seconds):
                    return
                server.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            single = [client.submit_xtb(WATER.format(f"number {number}"), name=f"s{number}").id for number in range(8)]
            structures = [{"smiles": "C" * number, "name": f"m{number}"} for number in range(1, 13)]
            many = [job.id for job in client.submit_many(structures, kind="conformers", conformers="rdkit", group="g")]
        finally:
            over.set()
            killer.join(90)
        assert len(set(single + many)) == 20
        found = {job.id: job.name for job in client.jobs()}
        assert set(found) == set(single + many)
        assert [found[one] for one in many] == [f"m{number}" for number in range(1, 13)]


def test_a_lost_answer_makes_no_second_job_and_repeats_no_action(gated: Home) -> None:
    with served(gated) as server:
        proxy = LosingProxy(server.url, losses=1)
        try:
            with Client(proxy.url) as client:
                job = client.submit_xtb(WATER.format("once"))
                assert (proxy.lost, [one.id for one in client.jobs()]) == (1, [job.id])
        finally:
            proxy.close()
        for verb, state in (("hold", "held"), ("release", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
            proxy = LosingProxy(server.url, losses=1)
            try:
                with Client(proxy.url) as client:
                    assert getattr(client.job(job.id), verb)().state == state
                assert proxy.lost == 1
            finally:
                proxy.close()


def test_the_lines_of_many_submissions_that_were_answered_are_not_sent_again(gated: Home) -> None:
    with served(gated) as server:
        proxy = LosingProxy(server.url, losses=3)
        try:
            with Client(proxy.url) as client:
                jobs = client.submit_many(["C", "CC", "CCC", "C"], kind="conformers", conformers="rdkit")
                assert proxy.lost == 3
                assert len({job.id for job in jobs}) == len(client.jobs()) == 4
                assert [job.data["structure"] for job in jobs] == ["C", "CC", "CCC", "C"]
        finally:
            proxy.close()
