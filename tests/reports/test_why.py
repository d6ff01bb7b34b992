"""`why` in each state of a job: one sentence, what is waited for or used, the evidence, the next command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.lifecycle.lab import STAND_IN, Lab
from tests.support import Daemon, Home, wait_for


@pytest.fixture
def lab(home: Home, daemon: Callable[..., Daemon]) -> Iterator[Lab]:
    home.extra |= {"QMRUNNER_XTB": str(STAND_IN), "STAND_IN_GATE": str(home.path.parent / "gate")}
    found = Lab(home, daemon)
    found.app.open_store(create=True)
    yield found
    found.close()


def why(lab: Lab, job: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.home.json("why", job)
    return found


def test_a_waiting_job_states_that_no_worker_runs_and_how_to_start_one(lab: Lab) -> None:
    told = why(lab, lab.submit())
    assert told["waits_for"] == "a worker: none is running"
    assert told["next"] == "qmrunner run"


def test_a_waiting_job_states_that_all_is_paused(lab: Lab) -> None:
    lab.home.run("pause")
    told = why(lab, lab.submit())
    assert "pause" in told["waits_for"]
    assert told["next"] == "qmrunner resume"


def test_a_waiting_job_states_who_has_the_cores_and_how_many_are_before_it(lab: Lab) -> None:
    lab.start()
    busy = [lab.submit(gate=1), lab.submit(gate=1)]
    for job in busy:
        lab.running(job)
    lab.submit()
    told = why(lab, lab.submit())
    assert told["state"] == "queued"
    assert "2 of 2 cores are used by" in told["waits_for"]
    assert all(f"{job}/xtb" in told["waits_for"] for job in busy)
    assert "1 ready step before it" in told["waits_for"]
    lab.open_gate()


def test_a_running_job_states_what_it_does_and_uses_and_how_old_its_last_output_is(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)

    def measured() -> dict[str, Any] | None:
        told = why(lab, job)
        return told if told["running"] and told["running"][0]["memory_mib"] is not None else None

    told = wait_for(measured, 20.0, "a first look at what it uses")
    assert told is not None
    (row,) = told["running"]
    assert told["summary"].startswith("step xtb is running for ")
    assert "last output" in told["summary"]
    assert (row["step"], row["attempt"], row["cores"]) == ("xtb", 1, 1)
    assert 0 <= row["output_age_s"] <= row["elapsed_s"] + 60
    assert told["next"] == f"qmrunner logs {job} --step xtb --follow"
    assert (told["code"], told["evidence"]) == (None, None)
    lab.open_gate()


def test_a_running_job_of_a_dead_worker_states_since_when_and_what_the_next_worker_does(lab: Lab) -> None:
    daemon = lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    assert lab.home.job(job)["interrupted"] is None
    lab.open_gate()
    lab.home.end_processes()
    del daemon
    told = why(lab, job)  # at once: its process is known to be gone
    assert "was started by worker tester, which ended unexpectedly" in told["summary"]
    assert told["summary"].endswith("engines that still run, and resumes the rest")
    assert told["next"] == "qmrunner run"
    halt = lab.home.job(job)["interrupted"]
    assert halt["code"] == "worker_silent"
    assert halt["summary"].startswith("worker tester on ")
    (worker,) = lab.home.json("status")["workers"]
    assert (worker["stale"], worker["ended_unexpectedly"]) == (True, True)
    assert worker["then"] == halt["then"]
    with lab.app.store.write() as connection:
        connection.execute(text("UPDATE workers SET boot_id = 'of another machine', beat_at = beat_at - 300"))
    summary = why(lab, job)["summary"]
    assert "which has not reported for 5 min" in summary
    assert "; if it does not report again, the next `qmrunner run`" in summary
    since = lab.home.job(job)["interrupted"]["since"]
    assert datetime.fromisoformat(since) < datetime.fromisoformat(halt["since"])


def test_a_running_job_between_two_workers_is_interrupted(lab: Lab) -> None:
    daemon = lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    assert daemon.stop() == 0
    job_of = lab.home.job(job)
    halt = job_of["interrupted"]
    assert (job_of["state"], halt["code"], halt["summary"]) == ("running", "no_worker", "no worker runs")
    assert datetime.now(UTC) - datetime.fromisoformat(halt["since"]) < timedelta(minutes=5)
    (listed,) = lab.home.json("status")["jobs"]
    assert listed["interrupted"] == halt
    printed = lab.home.run("status", job).stdout
    assert "interrupted" in printed
    assert "resumes it" in printed
    lab.start()
    lab.running(job)
    lab.home.run("pause")
    assert lab.home.job(job)["interrupted"] is None  # its engine keeps running
    lab.home.run("resume")
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.home.job(job)["interrupted"] is None


def test_a_failed_job_states_cause_evidence_attempts_and_what_to_do(lab: Lab) -> None:
    lab.start()
    job = lab.submit(exit=1)
    assert lab.ended(job) == "failed"
    told = why(lab, job)
    assert told["summary"].startswith("the job has failed after 2 attempts: xtb failed")
    assert [one["state"] for one in told["attempts"]] == ["failed"] * 2
    evidence = told["evidence"]
    log = Path(told["attempts"][-1]["log"])
    assert log.name == evidence["file"]
    assert log.read_text().splitlines()[evidence["line"] - 1].strip() == evidence["text"].strip()
    assert told["next"].startswith("qmrunner ")


def test_a_held_job_states_why_and_how_to_let_it_continue(lab: Lab) -> None:
    job = lab.submit()
    lab.move("hold", job)
    told = why(lab, job)
    assert told["summary"] == "the job is held: held by an operator"
    assert told["next"] == f"qmrunner release {job}"


def test_the_next_command_can_be_pasted(lab: Lab) -> None:
    lab.start()
    job = lab.submit(exit=1)
    lab.ended(job)
    assert lab.home.run(*why(lab, job)["next"].split()[1:]).returncode == 0


def test_the_events_of_a_failure_have_what_why_prints(lab: Lab) -> None:
    running = lab.start()
    job = lab.submit(exit=1)
    lab.ended(job)
    told = why(lab, job)
    last = told["attempts"][-1]["attempt"]
    (ended,) = wait_for(
        lambda: [one for one in running.events("step_ended") if (one["job"], one["attempt"]) == (job, last)],
        10.0,
        "the event of the last attempt",
    )
    assert (ended["code"], ended["class"], ended["remedy"]) == (told["code"], told["class"], told["remedy"])
    assert ended["evidence"] == told["evidence"]["text"]
    assert (ended["file"], ended["line"]) == (told["evidence"]["file"], told["evidence"]["line"])


DECK = """\
start odd
geometry units angstrom
  O 0 0 0.12
  H 0 0.76 -0.47
  H 0 -0.76 -0.47
end
basis
  * library sto-3g
end
dft
  xc b3lypp
end
task dft energy
"""


def test_an_abort_of_nwchem_shows_the_line_of_the_deck_with_those_around_it(lab: Lab) -> None:
    deck = lab.home.path.parent / "odd.nw"
    deck.write_text(DECK)
    lab.start()
    job = lab.home.run("submit", "nwchem", str(deck)).stdout.split()[0]
    assert lab.ended(job, 60.0) == "failed"
    told = why(lab, job)
    assert told["code"] == "input_error"
    assert told["deck"] == {
        "file": "input/odd.nw",
        "line": 11,
        "lines": [{"line": n, "text": DECK.split("\n")[n - 1]} for n in range(9, 14)],
    }
    shown = lab.home.run("why", job).stdout
    assert "deck:     input/odd.nw, line 11" in shown
    assert "          >   11:   xc b3lypp" in shown
    assert "            13: task dft energy" in shown
    assert len(lab.attempts(job)) == 1


def test_a_deck_that_is_gone_costs_the_answer_nothing_but_its_lines(lab: Lab) -> None:
    deck = lab.home.path.parent / "odd.nw"
    deck.write_text(DECK)
    lab.start()
    job = lab.home.run("submit", "nwchem", str(deck)).stdout.split()[0]
    assert lab.ended(job, 60.0) == "failed"
    (lab.home.settings.jobs_root / job / "input" / "odd.nw").unlink()
    told = why(lab, job)
    assert (told["code"], told["deck"]) == ("input_error", None)
