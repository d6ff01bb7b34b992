"""Too little shared memory, scratch, memory, processors or processes: reported with the numbers, never a bare crash."""

from __future__ import annotations

import pytest

from tests import decks
from tests.e2e.docker import ROOT, Docker, Volumes
from tests.support import wait_for

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


def deck(memory_mib: int) -> str:
    return decks.water("6-31G*", first=f"memory {memory_mib} mb", geometry="noautoz")


def test_64_mib_of_shared_memory_suffice_for_water_or_say_what_does(containers: Docker, volumes: Volumes) -> None:
    """(7) Docker's default."""
    worker = containers.start(volumes, "--shm-size", "64m")
    ended = worker.finished(worker.submit("nmr", "O"))
    why = worker.json("why", ended["id"])
    if ended["state"] != "succeeded":
        assert why["code"] in ("never_fits", "shm_exhausted"), why
        assert "--shm-size" in why["remedy"], why
    assert "SIGSEGV" not in str(why)
    assert "SIGBUS" not in str(why)


def test_1_mib_of_shared_memory_is_refused_with_the_flag_to_paste(containers: Docker, volumes: Volumes) -> None:
    """(7)"""
    worker = containers.start(volumes, "--shm-size", "1m")
    ended = worker.finished(worker.submit("nmr", "O"))
    why = worker.json("why", ended["id"])
    assert ended["state"] == "held", why
    assert why["code"] == "never_fits"
    assert "/dev/shm" in why["summary"]
    assert "--shm-size" in why["remedy"]
    doctor = worker.run("doctor")
    assert doctor.returncode == 4
    assert "shm" in doctor.stdout


def test_512_mib_of_shared_memory_suffice_for_a_production_shielding_of_20_atoms(
    containers: Docker, volumes: Volumes
) -> None:
    """(7) Reserved, not run here: an hour of work. What real ones used follows the rule (docs/decisions)."""
    worker = containers.start(volumes, "--shm-size", "512m")
    plan = worker.json("scratch", "plan", "--jobs", "1", "--conformers", "1", "--atoms", "20", "--level", "production")
    shielding = next(stage for stage in plan["stages"] if stage["stage"] == "shielding")
    assert shielding["shm_mib"] <= 512, shielding


def tmpfs(mib: int) -> tuple[str, ...]:
    """Options of a volume of exactly that size."""
    return ("--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size={mib}m,uid=10001")


def test_a_scratch_volume_of_50_mb_is_refused_at_the_start_with_the_numbers(
    containers: Docker, volumes: Volumes
) -> None:
    """(8) Nothing at all could run there."""
    volumes.name("scratch", *tmpfs(50))
    refused = containers.start(volumes, healthy=False)
    assert refused.ended() == 4
    assert "scratch_full: scratch_space: 50 MiB of 50 MiB free (tmpfs)" in refused.output()
    assert "set QMRUNNER_SCRATCH to a larger disk" in refused.output()


def test_a_job_that_does_not_fit_on_the_scratch_volume_is_held_with_the_numbers(
    containers: Docker, volumes: Volumes
) -> None:
    """(8) And what does fit runs."""
    volumes.name("scratch", *tmpfs(400))
    worker = containers.start(volumes)
    worker.put("/tmp/w.nw", deck(300))
    worker.put("/tmp/w.xyz", WATER)
    ended = worker.finished(worker.submit("nwchem", "/tmp/w.nw"))
    why = worker.json("why", ended["id"])
    assert ended["state"] == "held", why
    assert why["code"] == "never_fits"
    assert "of scratch; the best worker has 380 MiB" in why["summary"]
    assert "QMRUNNER_SCRATCH" in why["remedy"]
    worker.succeeded(worker.submit("xtb", "/tmp/w.xyz"))


# Of the memory of the container: what cannot be given back, cgroup v1 and v2.
HELD_MIB = r"""
    cd /sys/fs/cgroup
    if [ -d memory ]; then cd memory; names="total_rss|total_shmem"; else names="anon|shmem"; fi
    awk -v names="^($names)$" '$1 ~ names { sum += $2 } END { print int(sum / 1048576) }' memory.stat"""


def test_memory_that_runs_out_is_named_and_the_next_attempt_takes_less(containers: Docker, volumes: Volumes) -> None:
    """(9) The kernel ends a rank: distinguished from a kill by hand, and only the attempt is lost.

    What an engine is known to need is not started where it does not fit. So another process (here: a file in the tmpfs
    /tmp) has taken what was granted: 95 MiB are left, enough for one rank of this deck and not for two.
    """
    limit = 1600
    flags = ("--memory", f"{limit}m", "--memory-swap", f"{limit}m")
    worker = containers.start(volumes, *flags, QMRUNNER_CORES="2", QMRUNNER_SLOTS="1")
    worker.put("/tmp/w.nw", deck(150))
    others = limit - 95 - int(worker.sh(HELD_MIB).stdout)
    # Nearly all of it before, and only the room of the command itself after it: the engine is quick, too.
    worker.sh(f"head -c {others - 220}M /dev/zero >/tmp/others")
    job = worker.sh("qmrunner submit nwchem /tmp/w.nw; head -c 220M /dev/zero >>/tmp/others").stdout.strip()
    # By the log: another process in the container could not have its memory now.
    wait_for(lambda: worker.events("job_ended"), 120.0, f"the end of {job}")
    worker.sh("rm /tmp/others")
    why = worker.json("why", job)
    assert [(one["state"], one["code"], one["cores"]) for one in why["attempts"]] == [
        ("failed", "oom_killed", 2),
        ("succeeded", "ok", 1),
    ], why
    assert why["attempts"][0]["usage"]["oom_kills"] >= 1
    assert "fewer-ranks after oom_killed of attempt 1: 1 rank instead of 2" in worker.run("why", job).stdout
    (ended,) = worker.events("step_remedied")
    assert (ended["remedy"], ended["neutral"]) == ("fewer-ranks", True)
    assert worker.run("health").returncode == 0
    assert worker.events("consumer_died") == []


def test_an_engine_that_always_runs_out_of_memory_fails_by_that_name(containers: Docker, volumes: Volumes) -> None:
    """(9) A stand-in that wants more than there is, with whatever was changed; and what is known not to fit is held."""
    program = ROOT / "tests" / "stand_ins" / "hungry_xtb.sh"
    flags = ("--memory", "600m", "--memory-swap", "600m", "-v", f"{program}:/opt/xtb:ro")
    worker = containers.start(volumes, *flags, QMRUNNER_XTB="/opt/xtb")
    worker.put("/tmp/w.xyz", WATER)
    job = worker.submit("xtb", "/tmp/w.xyz")
    assert worker.finished(job)["state"] == "failed"
    why = worker.json("why", job)
    assert {one["code"] for one in why["attempts"]} == {"oom_killed"}, why
    assert len(why["attempts"]) >= 2
    assert "memory" in why["remedy"]
    assert worker.running()
    assert worker.run("health").returncode == 0
    worker.put("/tmp/w.nw", deck(2000))
    large = worker.submit("nwchem", "/tmp/w.nw")
    assert worker.finished(large)["state"] == "held"
    held = worker.json("why", large)
    assert held["code"] == "never_fits"
    assert "--memory" in held["remedy"]


@pytest.mark.parametrize(
    ("flags", "cores"), [(("--cpus", "1"), 1), (("--cpuset-cpus", "1"), 1), (("--cpus", "1.5"), 2)], ids=str
)
def test_ranks_follow_the_processors_of_the_container(
    containers: Docker, volumes: Volumes, flags: tuple[str, ...], cores: int
) -> None:
    """(10) The machine has more; `nproc` and Open MPI would take them."""
    worker = containers.start(volumes, *flags, QMRUNNER_CORES="64")
    worker.put("/tmp/w.nw", deck(300))
    job = worker.submit("nwchem", "/tmp/w.nw")
    worker.succeeded(job)
    (attempt,) = worker.json("why", job)["attempts"]
    assert attempt["cores"] == cores
    log = worker.run("logs", job).stdout
    assert f"nproc           = {cores:8d}" in log or f"nproc           =   {cores:6d}" in log


def test_a_limit_of_64_processes_is_reported_and_one_of_256_is_enough(containers: Docker, volumes: Volumes) -> None:
    """(10) mpirun and its threads want more than 64 beside the daemon's own."""
    worker = containers.start(volumes, "--pids-limit", "64")
    worker.put("/tmp/w.nw", deck(300))
    job = worker.submit("nwchem", "/tmp/w.nw")
    wait_for(lambda: "--pids-limit" in worker.run("why", job).stdout, 30.0, "the reason why it waits")
    assert "processes" in worker.run("doctor").stdout
    assert worker.job(job)["state"] == "queued"
    enough = containers.start(containers.volumes(), "--pids-limit", "256")
    enough.put("/tmp/w.nw", deck(300))
    enough.succeeded(enough.submit("nwchem", "/tmp/w.nw"))
