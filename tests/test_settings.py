"""Settings: typed, checked all at once, and reported so that a user can correct them."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from qmrunner.errors import ExitCode, UsageError
from qmrunner.settings import Settings, load

# Every option: a value that is right, what becomes of it, and one that is wrong. Any text is a name or a path.
EXAMPLES: dict[str, tuple[str, Any, str | None]] = {
    "home": ("/a/./b/../home", Path("/a/home"), None),
    "store_url": ("postgresql://me@db/x", "postgresql://me@db/x", "mysql://db/x"),
    "queue_url": ("redis://db:6379/0", "redis://db:6379/0", "postgresql://db/x"),
    "store_password_file": ("/proc/version", Path("/proc/version"), None),
    "queue_password_file": ("/proc/version", Path("/proc/version"), None),
    "jobs": ("/jobs", Path("/jobs"), None),
    "artifacts": ("s3://results/qm", "s3://results/qm", "s3:/results"),
    "checkpoint_seconds": ("60", 60.0, "-1"),
    "scratch": ("/scratch", Path("/scratch"), None),
    "logs": ("/logs", Path("/logs"), None),
    "group_access": ("read", "read", "all"),
    "worker_name": ("node-7", "node-7", None),
    "labels": ("ssd,big-memory", ("big-memory", "ssd"), "Big Memory"),
    "slots": ("3", 3, "0"),
    "cores": ("16", 16, "many"),
    "memory_mib": ("4096", 4096, "63"),
    "scratch_soft_mib": ("2000", 2000, "-1"),
    "scratch_hard_mib": ("0", 0, "low"),
    "ballast_mib": ("64", 64, "-1"),
    "heartbeat_seconds": ("0.5", 0.5, "0"),
    "lease_seconds": ("30", 30.0, "0.1"),
    "stop_grace_seconds": ("8.5", 8.5, "0"),
    "outage_grace_seconds": ("0", 0.0, "-1"),
    "adoption_seconds": ("60", 60.0, "nan"),
    "max_retries": ("0", 0, "-1"),
    "retry_delay_seconds": ("1e2", 100.0, "inf"),
    "poison_deaths": ("5", 5, "0"),
    "hang_watch": ("off", "off", "maybe"),
    "hang_floor_seconds": ("30", 30.0, "-1"),
    "hang_quiet_seconds": ("900", 900.0, "long"),
    "hang_busy_seconds": ("3600", 3600.0, "-5"),
    "retention_days": ("0.5", 0.5, "a week"),
    "log_retention_days": ("30", 30.0, "-1"),
    "task_retention_days": ("1", 1.0, "-1"),
    "result_retention_days": ("365", 365.0, "ever"),
    "sweep_seconds": ("60", 60.0, "0.5"),
    "reuse": ("off", "off", "of"),
    "remedies": ("off", "off", "al"),
    "confine": ("require", "require", "yes"),
    "confine_allow": ("/a:/b/../c", (Path("/a"), Path("/c")), None),
    "log_level": ("debug", "debug", "loud"),
    "tee": ("progress", "progress", "some"),
    "api_host": ("::1", "::1", None),
    "api_port": ("0", 0, "http"),
    "api_token_file": ("/run/secrets/token", Path("/run/secrets/token"), None),
    "api_max_body_mib": ("1", 1, "0"),
    "api_rate_per_minute": ("60", 60, "0"),
    "api_url": ("https://qm.example.org", "https://qm.example.org", "qm.example.org"),
    "api_prefix": ("/lab/", "/lab", "lab"),
    "api_plain_sign_in": ("on", "on", "yes"),
    "max_atoms": ("60", 60, "0"),
    "app": ("huey_consumer mod.huey", "huey_consumer mod.huey", "huey_consumer 'open"),
    "sbatch_options": ("--mem=2G -c 4", "--mem=2G -c 4", "--comment='open"),
    "nwchem": ("/opt/nwchem", "/opt/nwchem", None),
    "mpirun": ("mpiexec", "mpiexec", None),
    "crest": ("/opt/crest", "/opt/crest", None),
    "xtb": ("/opt/xtb", "/opt/xtb", None),
}
# Options that mean nothing alone.
NEEDS = {"store_password_file": ("store_url", "postgresql://db/x"), "queue_password_file": ("queue_url", "redis://db")}


def variable(name: str) -> str:
    return f"QMRUNNER_{name.upper()}"


def refusal(**given: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load({variable(name): value for name, value in given.items()})
    return caught.value


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_option_has_an_example_here() -> None:
    assert list(EXAMPLES) == [f.name for f in fields(Settings)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_valid_value_is_read_into_its_type(name: str) -> None:
    text, value, _ = EXAMPLES[name]
    needed = {variable(other): value for other, value in [NEEDS[name]]} if name in NEEDS else {}
    found = getattr(load({variable(name): text, **needed}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example[2] is not None])
def test_an_invalid_value_is_refused_by_its_name_with_what_was_seen(name: str) -> None:
    wrong = EXAMPLES[name][2]
    assert wrong is not None
    problem = refusal(**{name: wrong})
    assert (problem.code, problem.exit_code) == ("settings_invalid", ExitCode.USAGE)
    assert variable(name) in problem.message
    assert wrong in problem.message
    assert "expected" in problem.message
    assert problem.remedy


def test_without_any_variable_everything_has_its_default() -> None:
    found = load({})
    assert found.home == Path.cwd() / "qmrunner-data"
    assert found.store == f"sqlite:///{found.home}/store.db"
    assert found.queue == f"sqlite:///{found.home}/queue.db"
    assert (found.scratch_root, found.logs_root) == (found.home / "scratch", found.home / "logs")
    assert found.programs() == {"nwchem": None, "mpirun": None, "crest": None, "xtb": None}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_empty_variable_is_as_good_as_none(name: str) -> None:
    assert load({variable(name): ""}) == load({})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("QMRUNNER_HOEM", "QMRUNNER_HOME"),
        ("QMRUNNER_LEASE_SECS", "QMRUNNER_LEASE_SECONDS"),
        ("QMRUNNER_CORE", "QMRUNNER_CORES"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(wrong: str, right: str) -> None:
    with pytest.raises(UsageError, match=rf"{wrong}: unknown setting; did you mean {right}\?"):
        load({wrong: "1"})


def test_a_wrong_word_is_refused_with_the_nearest_known_one() -> None:
    assert "did you mean 'neutral'?" in refusal(remedies="nuetral").message


def test_all_problems_are_reported_at_once() -> None:
    problem = refusal(slots="none", cores="0", log_level="loud", nosuch="1", heartbeat_seconds="10", lease_seconds="11")
    for name in ("slots", "cores", "log_level", "nosuch", "heartbeat_seconds"):
        assert variable(name) in problem.message
    assert problem.message.startswith("5 setting(s)")


def test_a_lease_must_outlast_two_heartbeats() -> None:
    problem = refusal(lease_seconds="5", heartbeat_seconds="3")
    assert "QMRUNNER_LEASE_SECONDS=5 is under twice QMRUNNER_HEARTBEAT_SECONDS=3" in problem.message
    assert load({"QMRUNNER_LEASE_SECONDS": "6", "QMRUNNER_HEARTBEAT_SECONDS": "3"}).lease_seconds == 6


def test_a_refused_value_is_not_held_against_others_by_its_default() -> None:
    assert refusal(lease_seconds="5", heartbeat_seconds="soon").message.startswith("1 setting(s)")


def test_the_environment_goes_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "qmrunner.env").write_text(
        "# ours\n\nQMRUNNER_SLOTS=2\nQMRUNNER_CORES = '4'\nQMRUNNER_XTB=\"/opt/x\"\n"
    )
    found = load({"QMRUNNER_HOME": str(tmp_path), "QMRUNNER_SLOTS": "5"})
    assert (found.slots, found.cores, found.xtb, found.max_retries) == (5, 4, "/opt/x", 2)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'/data'", "/data"),
        ('"/data"', "/data"),
        (" /data ", "/data"),
        ("/data\r", "/data"),
        ("/data\n", "/data"),
        ("'", "'"),
        ("/my 'data'", "/my 'data'"),
        ("'a' and 'b'", "'a' and 'b'"),
        ("\"run -k 'thread'\"", "run -k 'thread'"),
        ("run -k 'thread'", "run -k 'thread'"),
        ("'mixed\"", "'mixed\""),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_value_means_the_same_in_the_environment_and_in_the_file(
    tmp_path: Path, written: str, meant: str, place: str
) -> None:
    """As a shell, `docker --env-file`, compose, a ConfigMap and an editor of Windows leave it."""
    if place == "environment":
        assert load({"QMRUNNER_WORKER_NAME": written}).worker_name == meant
        return
    (tmp_path / "qmrunner.env").write_bytes(f"\ufeffQMRUNNER_WORKER_NAME={written}\r\n".encode())
    assert load({"QMRUNNER_CONFIG": f"'{tmp_path}/qmrunner.env'"}).worker_name == meant


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
@pytest.mark.parametrize("character", ["\0", "\x1b", "\t", "\n"])
def test_no_value_has_a_control_character(name: str, character: str) -> None:
    text, _, _ = EXAMPLES[name]
    needs = dict([NEEDS[name]]) if name in NEEDS else {}
    problem = refusal(**needs, **{name: f"{text}{character}{text}"})
    assert "without control characters" in problem.message or variable(name) in problem.message


def test_another_file_can_be_named_and_must_then_be_there(tmp_path: Path) -> None:
    file = tmp_path / "other.env"
    assert f"QMRUNNER_CONFIG: no such file: {file}" in refusal(config=str(file)).message
    file.write_text(f"QMRUNNER_HOME={tmp_path}/elsewhere\n")
    assert load({"QMRUNNER_CONFIG": str(file)}).home == tmp_path / "elsewhere"


def test_the_file_of_a_home_given_as_an_empty_text_is_that_of_the_default_home(tmp_path: Path) -> None:
    (tmp_path / "qmrunner.env").write_text("QMRUNNER_SLOTS=7\n")
    assert load({"QMRUNNER_HOME": ""}).slots is None


def test_faults_of_the_file_are_reported_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "qmrunner.env"
    file.write_text("QMRUNNER_SLOTS=2\nexport QMRUNNER_CORES=2\nPATH=/bin\nQMRUNNER_SLOT=1\nQMRUNNER_LOGS\n")
    problem = refusal(home=str(tmp_path))
    assert [f"{file}:{n}: expected" in problem.message for n in (1, 2, 3, 4, 5)] == [False, True, True, False, True]
    assert "QMRUNNER_SLOT: unknown setting; did you mean QMRUNNER_SLOTS?" in problem.message


@pytest.mark.parametrize("content", [b"QMRUNNER_SLOTS=\xff\xfe\n", None], ids=["not text", "a folder"])
def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "qmrunner.env"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    assert f"{file}: cannot be read" in refusal(home=str(tmp_path)).message


@pytest.mark.parametrize(
    ("name", "url", "with_password"),
    [
        ("store", "postgresql://me@db:5432/jobs?sslmode=require", "postgresql://me:p%40ss%2Fw%3Ard@db:5432/jobs?sslmode=require"),
        ("queue", "redis://cache:6379/0", "redis://:p%40ss%2Fw%3Ard@cache:6379/0"),
        ("queue", "rediss://worker@cache", "rediss://worker:p%40ss%2Fw%3Ard@cache"),
    ],
)  # fmt: skip
def test_a_password_from_a_file_is_put_into_the_url(tmp_path: Path, name: str, url: str, with_password: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss/w:rd\n")
    given = {variable(f"{name}_url"): url, variable(f"{name}_password_file"): str(secret)}
    assert getattr(load(given), name) == with_password


def test_a_password_that_cannot_be_used_is_refused_by_its_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    server = "postgresql://me@db/x"
    assert "it needs a server" in refusal(store_password_file="/proc/version").message
    assert "it needs a server" in refusal(store_password_file="/proc/version", store_url="sqlite:///x.db").message
    twice = refusal(store_password_file="/proc/version", store_url="postgresql://me:secret@db/x").message
    assert "QMRUNNER_STORE_URL contains a password as well" in twice
    assert "secret@" not in twice
    assert "cannot be read" in refusal(store_password_file="/nonexistent", store_url=server).message
    assert "is empty" in refusal(store_password_file=str(empty), store_url=server).message


def test_names_that_other_parts_read_are_left_alone() -> None:
    assert load({"QMRUNNER_ATTEMPT": "job/step/1", "PATH": "/bin"}) == load({})


def test_a_leading_tilde_is_the_home_of_the_user() -> None:
    assert load({"QMRUNNER_HOME": "~/qm"}).home == Path(os.path.expanduser("~/qm"))


def test_days_are_asked_for_as_days() -> None:
    assert "expected a number of days, got 'a week'" in refusal(retention_days="a week").message


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    with pytest.raises(AttributeError):
        load({}).slots = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "url", ["file://folder", "file:///", "s3://", "s3://B", "gs://bucket", "/shared", "s3://b/x?y=1"]
)
def test_a_place_for_files_that_is_none_is_refused(url: str) -> None:
    assert "QMRUNNER_ARTIFACTS" in refusal(artifacts=url).message


@pytest.mark.parametrize("url", ["file:///shared", "file:///a/b%20c/", "s3://results", "s3://results/a/b"])
def test_places_for_files(url: str) -> None:
    assert load({"QMRUNNER_ARTIFACTS": url}).artifacts == url
