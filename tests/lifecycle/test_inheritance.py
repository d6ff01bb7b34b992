"""What a running engine really has in its environment, and what the attempt's notes list."""

from __future__ import annotations

from pathlib import Path

from tests.lifecycle.lab import Lab
from tests.support import wait_for


def test_an_engine_inherits_nothing_that_disturbs_it_and_the_attempt_reports_what_was_kept_away(
    lab: Lab, no_scheduler: None
) -> None:
    lab.start(OMP_NUM_THREADS="64", OMP_PLACES="cores", SLURM_JOB_ID="7", HARMLESS="yes")
    job = lab.submit(gate=1)
    pid = wait_for(lambda: lab.home.job(job)["steps"][0]["engine_pid"], 15.0, "a running engine")
    raw = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    has = dict(entry.decode().split("=", 1) for entry in raw if b"=" in entry)
    assert has["OMP_NUM_THREADS"] == "1,1"
    assert has["HARMLESS"] == "yes"
    assert has["TZ"] == "UTC"
    assert not {"OMP_PLACES", "SLURM_JOB_ID", "QMRUNNER_HOME"} & set(has)
    notes = lab.home.json("why", job)["attempts"][0]["notes"]
    told = next(note for note in notes if note.startswith("environment: "))
    assert "OMP_NUM_THREADS 64 replaced by 1,1" in told
    assert "dropped OMP_PLACES=cores; dropped SLURM_JOB_ID=7" in told
    lab.open_gate()
