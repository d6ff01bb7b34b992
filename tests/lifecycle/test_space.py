"""Volumes that are too small for all, through the real daemon: nothing starts that cannot fit, nothing is filled."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from qmrunner.store.tables import attempts
from qmrunner.submission import job_kinds
from qmrunner.submission.submit import submit
from qmrunner.worker.disk_watch import BALLAST
from tests import decks
from tests.lifecycle.lab import Lab
from tests.support import Home, missing, tmpfs, wait_for

# What the rule reserves for a user's xTB run.
RULE_MIB = 256
VOLUME_MIB = 400


@pytest.fixture
def scratch(home: Home, tmp_path: Path) -> Iterator[Path]:
    """A scratch volume that holds one such run, not two."""
    with tmpfs(tmp_path / "scratch", VOLUME_MIB) as path:
        home.extra["QMRUNNER_SCRATCH"] = str(path)
        yield path


def write(path: Path, mib: int) -> None:
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, mib << 20)


def waits_for(lab: Lab, job: str) -> str:
    return str(lab.home.job(job)["steps"][0]["waits_for"] or "")


@pytest.mark.slow
def test_ten_steps_on_a_volume_too_small_for_two_all_end_and_none_meets_a_full_disk(scratch: Path, lab: Lab) -> None:
    daemon = lab.start()
    jobs = [lab.submit(fill=240) for _ in range(10)]
    assert [lab.ended(job, 60) for job in jobs] == ["succeeded"] * 10
    assert [lab.attempts(job) for job in jobs] == [[(1, "succeeded", "ok")]] * 10
    assert "No space left" not in daemon.text()
    lab.nothing_left(*jobs)


def test_a_step_that_can_never_fit_is_held_with_the_remedy_and_never_starts(
    home: Home, lab: Lab, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "tiny", 100) as tiny:
        home.extra["QMRUNNER_SCRATCH"] = str(tiny)
        lab.start()
        job = lab.submit()
        wait_for(lambda: lab.state(job) == "held", 10, "a held job")
        why = home.json("why", job)
        assert (why["code"], why["attempts"]) == ("never_fits", [])
        assert "needs 256 MiB of scratch" in why["summary"]
        assert "QMRUNNER_SCRATCH on a volume of" in why["remedy"]


def test_files_of_others_make_a_step_wait_and_say_so_until_they_go(scratch: Path, lab: Lab) -> None:
    write(scratch / "somebody-elses", 200)
    lab.start()
    job = lab.submit()
    wait_for(lambda: "MiB of scratch" in waits_for(lab, job), 10, "the reason")
    assert f"{RULE_MIB} MiB of scratch (180 MiB free)" in waits_for(lab, job)
    assert "step xtb waits for 256 MiB of scratch" in lab.home.json("why", job)["summary"]
    assert lab.attempts(job) == []
    (scratch / "somebody-elses").unlink()
    assert lab.ended(job) == "succeeded"


@pytest.mark.slow
def test_a_step_that_needs_more_than_was_reserved_gets_it_where_it_is_free(scratch: Path, lab: Lab) -> None:
    daemon = lab.start()
    job = lab.submit(fill=330, pace=6, gate=1)
    wait_for(lambda: daemon.events("reservation_raised"), 40, "the event")
    (written,) = (scratch / job).rglob("fill")
    wait_for(lambda: written.stat().st_size == 330 << 20, 40, "all that the step writes")
    lab.open_gate()
    assert lab.ended(job, 40) == "succeeded"
    assert lab.attempts(job) == [(1, "succeeded", "ok")]
    assert {event["job"] for event in daemon.events("reservation_raised")} == {job}


def test_a_step_that_outgrows_the_volume_is_stopped_before_it_is_full_and_held_in_the_end(
    scratch: Path, lab: Lab
) -> None:
    daemon = lab.start()
    job = lab.submit(fill=390, seconds=600)
    wait_for(lambda: lab.state(job) == "held", 60, "a held job")
    assert lab.step(job).code == "never_fits"
    assert lab.step(job).retries == 0
    assert {(state, code) for _, state, code in lab.attempts(job)} == {("stopped", "stopped")}
    assert "No space left" not in daemon.text()


def test_below_the_hard_mark_the_greediest_is_stopped_keeps_its_place_and_continues_later(
    scratch: Path, lab: Lab
) -> None:
    """20 MiB are the soft mark of this volume, 5 the hard one."""
    daemon = lab.start()
    job = lab.submit(fill=100, gate=1)
    lab.running(job)
    write(scratch / "somebody-elses", VOLUME_MIB - 100 - 3)
    wait_for(lambda: lab.attempts(job)[0][1] == "stopped", 20, "the stop")
    wait_for(lambda: daemon.events("scratch_low"), 10, "the event")
    assert [event["job"] for event in daemon.events("scratch_low")] == [job]
    assert lab.step(job).retries == 0
    why = lab.home.json("why", job)
    assert "the scratch volume was nearly full" in why["summary"]
    assert not list((scratch / job).rglob("fill")), "what it cannot resume from is gone"
    wait_for(lambda: "of scratch" in waits_for(lab, job), 10, "the reason to wait")
    (scratch / "somebody-elses").unlink()
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert [state for _, state, _ in lab.attempts(job)] == ["stopped", "succeeded"]


def test_a_log_with_a_hole_never_yields_success_even_when_its_end_is_there(
    home: Home, lab: Lab, tmp_path: Path
) -> None:
    """The disk of the logs is full for a while in the middle of a run; the end of the output finds room again."""
    with tmpfs(tmp_path / "logs", 20) as logs:
        home.extra["QMRUNNER_LOGS"] = str(logs)
        lab.start()
        write(logs / "somebody-elses", 8)
        job = lab.submit(chat=14, gate=1)
        lab.running(job)
        wait_for(lambda: os.statvfs(logs).f_bavail == 0, 10, "a full disk")
        wait_for(lambda: _usage(lab, job).get("disk_full"), 10, "the guardian's look")
        (logs / "somebody-elses").unlink()
        lab.open_gate()
        wait_for(lambda: lab.attempts(job)[0][1] != "running", 20, "the end of the attempt")
        assert lab.attempts(job)[0][1] == "failed"
        assert "normal termination of xtb" in (logs / job / "xtb.1.log").read_text()


def _usage(lab: Lab, job: str) -> dict[str, object]:
    usage: dict[str, object] = lab.home.job(job)["steps"][0]["usage"]
    return usage


def test_the_ballast_lets_a_full_home_commit_and_is_made_again(home: Home, lab: Lab, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "home", 200):
        home.extra |= {"QMRUNNER_SCRATCH": str(tmp_path / "scratch"), "QMRUNNER_LOGS": str(tmp_path / "logs")}
        daemon = lab.start()
        ballast = home.path / BALLAST
        wait_for(lambda: ballast.exists() and ballast.stat().st_blocks * 512 == 16 << 20, 10, "the ballast")
        job = lab.submit(gate=1)
        lab.running(job)
        _fill_up(home.path / "somebody-elses")
        wait_for(lambda: not ballast.exists(), 10, "the release of the ballast")
        lab.open_gate()
        assert lab.ended(job, 30) == "succeeded"
        assert daemon.told("ballast_released")
        (home.path / "somebody-elses").unlink()
        wait_for(ballast.exists, 15, "the ballast again")


def _fill_up(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.engine
@pytest.mark.ranks
def test_a_dev_shm_of_64_mib_holds_one_nwchem_at_a_time(home: Home, lab: Lab, tmp_path: Path) -> None:
    """As much as containers have by default."""
    lab.start(before=_small_shm(64))
    assert home.json("status")["workers"][0]["shm_mib"] == 61
    jobs = [submit(lab.app, job_kinds.nwchem(deck(tmp_path), [])).job_id for _ in range(2)]
    told = re.compile(r"of /dev/shm \(\d+ MiB free\)")  # 13 before the first one uses any
    wait_for(lambda: any(told.search(waits_for(lab, job)) for job in jobs), 60, "the reason to wait")
    assert [lab.ended(job, 90) for job in jobs] == ["succeeded"] * 2
    first, second = sorted(_span(lab, job) for job in jobs)
    assert first[1] <= second[0], "they ran at the same time"


@pytest.mark.engine
def test_a_dev_shm_too_small_for_any_such_step_is_reported_with_the_flag_to_paste(
    home: Home, lab: Lab, tmp_path: Path
) -> None:
    lab.start(before=_small_shm(40))
    job = submit(lab.app, job_kinds.nwchem(deck(tmp_path), [])).job_id
    wait_for(lambda: lab.state(job) == "held", 10, "a held job")
    why = home.json("why", job)
    assert why["remedy"] == f"run the container with `--shm-size 64m`; then `qmrunner release {job}`"
    assert why["attempts"] == []


def deck(folder: Path) -> str:
    (folder / "wat.nw").write_text(decks.water())
    return str(folder / "wat.nw")


def _small_shm(mib: int) -> tuple[str, ...]:
    """Words before a command that give it a /dev/shm of that size, in a separate mount namespace."""
    script = f'mount -t tmpfs -o size={mib}m tmpfs /dev/shm && exec "$@"'
    before = ("unshare", "-m", "sh", "-c", script, "sh")
    probe = subprocess.run([*before, "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        missing(f"no mount namespace here: {probe.stderr.strip()}")
    return before


def _span(lab: Lab, job: str) -> tuple[float, float]:
    """When the job's only attempt was claimed and when it ended, Unix seconds."""
    with lab.store.read() as connection:
        row = connection.execute(select(attempts).where(attempts.c.job_id == job)).one()
    return row.created_at, row.finished_at
