"""Kill it, stop it, restart it, take it down, upgrade it: running steps resume and end right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.docker import ROOT, Container, Docker, Volumes, docker
from tests.support import wait_for

# Of methanol, undisturbed, by version of NWChem.
ENERGY = {"7.0.2": -115.718605, "7.2.3": -115.718582}


def optimising(worker: Container) -> str:
    """A prediction for methanol whose optimisation runs and has saved a checkpoint."""
    job = worker.submit("nmr", "CO")

    # One shell that looks often: the step is over a few seconds after its first checkpoint.
    folder = f"/scratch/{job}/optimise-c1/1/checkpoint"
    seen = worker.sh(f"for i in $(seq 1200); do ls -d {folder}/[0-9]* 2>/dev/null && exit; sleep 0.1; done", 150)
    assert seen.stdout, worker.run("why", job).stdout
    return job


def undisturbed(result: dict[str, Any]) -> float:
    """What a prediction for methanol gives with this version of NWChem."""
    program = result["provenance"]["steps"]["optimise-c1"]["result"]["provenance"]["nwchem"]
    return ENERGY[program["version"]]


def ends_right(worker: Container, volumes: Volumes, job: str) -> None:
    result = worker.succeeded(job)
    assert result["energy_hartree"] == pytest.approx(undisturbed(result), abs=1e-6)
    no_leftovers(worker, volumes)


def no_leftovers(worker: Container, volumes: Volumes) -> None:
    wait_for(lambda: volumes.look("ls -A /scratch").split() in ([], ["lost+found"]), 30.0, "an empty scratch volume")
    assert worker.sh("ls -A /dev/shm").stdout == ""


def test_a_killed_container_resumes_its_job_when_it_is_started_again(containers: Docker, volumes: Volumes) -> None:
    """(6) `docker kill -s KILL`, then `docker start`: as after a power cut of the machine's engine."""
    worker = containers.start(volumes)
    job = optimising(worker)
    docker("kill", "-s", "KILL", worker.name)
    assert worker.ended() == 137
    docker("start", worker.name)
    worker.healthy()
    ends_right(worker, volumes, job)
    states = [(state, code) for _, state, code in worker.attempts(job, "optimise")]
    assert states == [("lost", "worker_lost"), ("succeeded", "ok")], worker.run("why", job).stdout
    notes = [one["notes"] for one in worker.json("why", job)["attempts"] if one["step"].startswith("optimise")]
    assert "resume" in str(notes[1]) or "restart" in str(notes[1]), notes


@pytest.mark.parametrize("verb", ["restart", "stop"])
def test_a_stop_within_the_grace_spends_no_retry_and_leaves_nothing(
    containers: Docker, volumes: Volumes, verb: str
) -> None:
    """(6) The plain `docker stop` with its 10 s."""
    worker = containers.start(volumes)
    job = optimising(worker)
    docker(verb, worker.name)
    if verb == "stop":
        assert worker.exit_code() == 0
        assert "daemon_stopped" in worker.output()
        docker("start", worker.name)
    worker.healthy()
    ends_right(worker, volumes, job)
    states = worker.attempts(job, "optimise")
    assert [state for _, state, _ in states] == ["stopped", "succeeded"]


# All that store and volumes keep of this boot is put down to another one: a container cannot be given a new boot id.
REBOOT = r"""
import pathlib, sqlite3
boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
other = '11111111-2222-3333-4444-555555555555'
for path in pathlib.Path('/scratch').glob('*/*/*/guardian.json'):
    path.write_text(path.read_text().replace(boot, other))
store = sqlite3.connect('/data/store.db')
for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
    for _, column, kind, *_ in store.execute(f'PRAGMA table_info({table})').fetchall():
        if not kind.startswith(('TEXT', 'JSON', 'VARCHAR')):
            continue
        change = f'"{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'
        store.execute(f'UPDATE {table} SET {change}', (boot, other, boot))
        print(store.execute('SELECT changes()').fetchone()[0])
store.commit()
"""


def test_after_a_reboot_of_the_host_the_job_continues(containers: Docker, volumes: Volumes) -> None:
    """(6) Another boot id: old process numbers mean nothing, and nothing is held against the step."""
    worker = containers.start(volumes)
    job = optimising(worker)
    docker("kill", "-s", "KILL", worker.name)
    worker.ended()
    flags = [*volumes.flags(), "--network", "none", "--rm"]
    changes = docker("run", *flags, worker.inspect(".Image"), "/opt/qmrunner/bin/python", "-c", REBOOT).stdout.split()
    assert any(int(number) for number in changes)
    docker("start", worker.name)
    worker.healthy()
    ends_right(worker, volumes, job)
    states = [(state, code) for _, state, code in worker.attempts(job, "optimise")]
    assert states == [("lost", "machine_lost"), ("succeeded", "ok")], worker.run("why", job).stdout


def test_an_upgrade_with_a_migration_keeps_the_jobs(containers: Docker, volumes: Volumes) -> None:
    """(14) A store of the first release: refused with the command to type, upgraded by it, and all jobs are there."""
    worker = containers.start(volumes)
    worker.put("/tmp/w.xyz", "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
    job = worker.submit("xtb", "/tmp/w.xyz")
    energy = worker.succeeded(job)["energy_hartree"]
    docker("stop", worker.name)
    script = (
        "from qmrunner.store import schema; from qmrunner.store.session import Store;"
        "s = Store('sqlite:////data/store.db'); schema.downgrade(s, '0001'); print(schema.revision(s))"
    )
    flags = [*volumes.flags(), "--network", "none", "--rm"]
    image = worker.inspect(".Image")
    assert docker("run", *flags, image, "/opt/qmrunner/bin/python", "-c", script).stdout.strip() == "0001"
    refused = docker("run", *flags, image, check=False)
    assert refused.returncode == 4
    assert "qmrunner db upgrade" in refused.stdout + refused.stderr
    docker("run", *flags, image, "qmrunner", "db", "upgrade")
    successor = containers.start(volumes)
    assert successor.json("result", job)["energy_hartree"] == energy


def test_signals_and_zombies_are_right_without_an_init(containers: Docker, volumes: Volumes) -> None:
    """(15) As PID 1 itself: orphans are reaped, TERM ends it cleanly, and an engine is gone with it."""
    worker = containers.start(volumes, "--entrypoint", "qmrunner", command=("run",))
    assert "qmrunner" in worker.sh("tr '\\0' ' ' </proc/1/cmdline").stdout
    for _ in range(5):
        worker.sh("sh -c 'sleep 0.2 & exec true'")
    job = optimising(worker)
    wait_for(lambda: not [row for row in worker.processes() if row[1] == "Z"], 15.0, "the end of all zombies")
    docker("stop", worker.name)
    assert worker.exit_code() == 0
    docker("start", worker.name)
    worker.healthy()
    ends_right(worker, volumes, job)


def test_an_init_of_the_engine_is_accepted(containers: Docker, volumes: Volumes) -> None:
    """(15) Below tini, as the image starts it, PID 1 is tini."""
    worker = containers.start(volumes)
    assert worker.sh("cat /proc/1/comm").stdout.strip() == "tini"
    assert (ROOT / "entrypoint.sh").is_file()
