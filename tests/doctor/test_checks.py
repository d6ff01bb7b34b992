"""Each check on its own: facts in, a finding out. Where the borders lie."""

from __future__ import annotations

import errno
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qmrunner.doctor import engines, folders, machine, services
from qmrunner.doctor.finding import Finding, ask, ok
from qmrunner.doctor.folders import Trial
from qmrunner.doctor.machine import Space
from qmrunner.engines.base import Installed
from qmrunner.errors import NotReadyError
from qmrunner.model.packing import Capacity

NONE = resource.RLIM_INFINITY
FOUR = Capacity(slots=4, cores=4, memory_mib=8000)
ME = 1000


def word(found: Finding) -> str:
    """`ok`, or result and code; everything that is not ok must say what to do."""
    assert found.result == "ok" or (found.remedy and found.code), found
    return found.result if found.result == "ok" else f"{found.result} {found.code}"


@pytest.mark.parametrize(
    ("quota", "setting", "capacity", "expected"),
    [
        (None, None, FOUR, "ok"),
        (4.0, 4, FOUR, "ok"),
        (3.5, None, FOUR, "warn quota_fraction"),
        (None, 16, FOUR, "warn cores_clipped"),
        (None, None, Capacity(8, 4, 8000), "warn slots_idle"),
    ],
)
def test_cores(quota: float | None, setting: int | None, capacity: Capacity, expected: str) -> None:
    assert word(machine.cores(capacity, 4, quota, setting)) == expected


@pytest.mark.parametrize(
    ("usable", "setting", "counted", "together", "expected"),
    [
        (8000, None, True, False, "ok"),
        (200, None, True, False, "fail memory_too_small"),
        (4000, None, True, False, "warn memory_small"),
        (8000, 9000, True, False, "warn memory_clipped"),
        (8000, None, False, False, "warn oom_not_counted"),
        (8000, None, True, True, "warn oom_kills_all"),
    ],
)
def test_memory(usable: int, setting: int | None, counted: bool, together: bool, expected: str) -> None:
    assert word(machine.memory(Capacity(4, 4, usable), 16000, 9000, setting, counted, together)) == expected


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (Space(1024, 1024, None), "ok"),
        (Space(1024, 200, None), "warn shm_small"),
        (Space(64, 3, None), "fail shm_exhausted"),
        (Space(1024, 1024, None, "write failed: Permission denied"), "fail shm_unwritable"),
        (None, "fail shm_missing"),
    ],
)
def test_shared_memory(space: Space | None, expected: str) -> None:
    assert word(machine.shm(space, 4)) == expected


def test_shared_memory_grows_with_the_attempts_at_a_time() -> None:
    space = Space(512, 512, None)
    assert machine.shm(space, 8).result == "ok"
    assert "16 attempts may need 1024" in machine.shm(space, 16).text


@pytest.mark.parametrize(
    ("hard", "expected"),
    [
        (NONE, "ok"),
        (2**28, "ok"),
        (2**26, "warn stack_small"),
        (2**23, "warn stack_small"),
        (2**21, "fail stack_limit"),
    ],
)
def test_stack(hard: int, expected: str) -> None:
    assert word(machine.stack(min(2**23, hard) if hard != NONE else 2**23, hard)) == expected


@pytest.mark.parametrize(
    ("room", "expected"), [(None, "ok"), (4000, "ok"), (200, "warn process_limit"), (60, "fail process_limit")]
)
def test_processes(room: int | None, expected: str) -> None:
    assert word(machine.processes(room, 4)) == expected


def test_limits_that_end_a_run() -> None:
    assert word(machine.limits(20000, NONE, NONE, NONE)) == "ok"
    assert word(machine.limits(256, NONE, NONE, NONE)) == "warn open_files_limit"
    assert "CPU seconds 60" in machine.limits(20000, NONE, NONE, 60).text
    assert "address space 64 MiB" in machine.limits(20000, NONE, 2**26, NONE).text


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("now", "newest", "zone", "known", "expected"),
    [
        (NOW + 10, NOW, None, True, "ok"),
        (NOW - 3600, None, None, True, "ok"),
        (NOW - 100_000, None, None, True, "warn clock_before_install"),
        (0.0, None, None, True, "fail clock_in_the_past"),
        (NOW, NOW + 7200, None, True, "warn clock_went_back"),
        (NOW, None, "Mars/Base", False, "warn timezone_unknown"),
        (NOW, None, "Europe/Berlin", True, "ok"),
    ],
)
def test_clock(now: float, newest: float | None, zone: str | None, known: bool, expected: str) -> None:
    assert word(machine.clock(now, NOW, newest, zone, known)) == expected


def test_time_zones_by_name_need_a_file_and_rules_do_not(tmp_path: Path) -> None:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").touch()
    known = {zone: machine.zone_is_known(zone, tmp_path) for zone in (None, "UTC", "CET-1CEST", ":Europe/Berlin")}
    assert all(known.values()), known
    assert not machine.zone_is_known("Mars/Base", tmp_path)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "chown -R"),
        (errno.EROFS, "mount"),
        (errno.ENOSPC, "free space"),
        (errno.ENOTDIR, "a file has the name of a folder"),
        (errno.EIO, "local disk"),
    ],
)
def test_a_folder_that_cannot_be_written_is_reported_with_the_step_and_its_cure(number: int, words: str) -> None:
    found = folders.folder("home", Path("/data"), Trial(Path("/data"), "fsync", number, "that's why"), (0, 0))
    assert word(found) == "fail home_unwritable"
    assert found.text == "/data: fsync failed: that's why"
    assert words in str(found.remedy)


@pytest.mark.parametrize(("name", "needed"), [("home", True), ("run", True), ("scratch", True), ("jobs", False)])
def test_a_filesystem_without_locks_is_refused_where_locks_are_held(name: str, needed: bool) -> None:
    found = folders.folder(name, Path("/lustre"), Trial(Path("/lustre"), unlocked="Function not implemented"), None)
    assert word(found) == ("fail locks_missing" if needed else "ok")
    assert "-o flock" in str(found.remedy) or not needed


def test_owners() -> None:
    here = Path("/data")
    assert word(folders.owners([], ME, ME)) == "ok"
    assert word(folders.owners([(here, ME, ME, True)], ME, ME)) == "ok"
    assert word(folders.owners([(here, 0, 0, True)], ME, ME)) == "warn owner_foreign"
    found = folders.owners([(here, ME, ME, True), (here / "store.db", 0, 0, False)], ME, ME)
    assert word(found) == "fail owner_wrong"
    assert "chown -R 1000:1000 /data/store.db" in str(found.remedy)


@pytest.mark.parametrize(
    ("space", "kind", "expected"),
    [
        (Space(99999, 9999, 99999), "ext4", "ok"),
        (Space(99999, 9999, None), "btrfs", "ok"),
        (Space(99999, 63, 99999), "ext4", "fail scratch_full"),
        (Space(99999, 9999, 100), "ext4", "fail scratch_full"),
        (Space(9999, 1000, 99999), "ext4", "warn scratch_small"),
        (Space(99999, 1000, 99999), "ext4", "fail scratch_low"),
        (Space(99999, 9999, 5000), "ext4", "warn scratch_files"),
        (Space(99999, 9999, 99999), "tmpfs", "warn scratch_in_memory"),
        (Space(99999, 9999, None), "nfs4", "warn scratch_slow"),
        (Space(99999, 9999, None), "fuseblk", "ok"),
        (None, None, "fail scratch_missing"),
    ],
)
def test_scratch(space: Space | None, kind: str | None, expected: str) -> None:
    assert word(folders.scratch(Path("/scratch"), space, kind)) == expected


def test_scratch_is_judged_by_the_mark_below_which_this_worker_starts_nothing() -> None:
    space = Space(99999, 9000, 99999)
    assert word(folders.scratch(Path("/scratch"), space, "ext4", 8000)) == "ok"
    found = folders.scratch(Path("/scratch"), space, "ext4", 9500)
    assert word(found) == "fail scratch_low"
    assert "QMRUNNER_SCRATCH_SOFT_MIB" in str(found.remedy)


def test_a_long_path_hurts_only_where_sockets_lie_below_it() -> None:
    long = Path("/", "x" * 200)
    assert folders.path_length(long, "openmpi4").result == "ok"
    assert word(folders.path_length(long, "openmpi5")) == "warn path_too_long"
    assert word(folders.path_length(Path("/", "x" * 3100), "openmpi4")) == "warn path_too_long"


def _mounted_as(kind: str) -> str:
    return f"1 0 0:1 / / rw - ext4 disk rw\n2 1 0:2 / /data rw - {kind} that rw\n"


def test_a_store_on_a_share_is_a_fault_and_on_a_containers_own_disk_a_warning() -> None:
    store = Path("/data/store.db")
    look = folders.store_place
    assert word(look(store, _mounted_as("ext4"))) == "ok"
    assert word(look(store, _mounted_as("overlay"))) == "warn store_volatile"
    assert word(look(None, "")) == "ok"
    assert [word(found) for found in ask("x", lambda: look(store, _mounted_as("nfs4")))] == [
        "fail store_filesystem_unsafe"
    ]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("current", "ok"), ("empty", "ok"), ("outdated", "fail store_outdated"), ("newer", "fail store_newer")],
)
def test_schema(state: str, expected: str) -> None:
    assert word(services.schema(state, "0001", "0002", "store.db")) == expected


def test_an_outdated_store_is_reported_with_the_upgrade_command() -> None:
    assert "`qmrunner db upgrade`" in str(services.schema("outdated", "0001", "0002", "store.db").remedy)


def elf(machine: int, big: bool = False) -> bytes:
    order = "big" if big else "little"
    return b"\x7fELF" + bytes([2, 2 if big else 1, 1]) + bytes(9) + (2).to_bytes(2, order) + machine.to_bytes(2, order)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (elf(62), "x86_64"),
        (elf(183), "aarch64"),
        (elf(22, big=True), "s390x"),
        (elf(4711), "machine 4711"),
        (b"#!/bin/sh\n", None),
        (b"\x7fELF", None),
        (b"", None),
    ],
)
def test_the_machine_of_a_program(header: bytes, expected: str | None) -> None:
    assert engines.machine_of(header) == expected


def test_the_machine_is_that_of_the_kernel_and_of_this_python() -> None:
    assert os.uname().machine in engines.machines_here()


def test_programs_that_cannot_be_started(tmp_path: Path) -> None:
    def seen(content: bytes, *here: str) -> str:
        path = tmp_path / "program"
        path.write_bytes(content)
        return word(engines.located("xtb", str(path), None, here or ("x86_64",)))

    assert seen(elf(62)) == "ok"
    assert seen(elf(3)) == "ok"  # 32 bits run on 64
    assert seen(elf(62), "aarch64") == "fail exec_format"
    assert seen(elf(40), "aarch64") == "fail exec_format"
    assert seen(elf(40), "aarch64", "armv7l") == "ok"  # a 32-bit system on a 64-bit kernel
    assert seen(b"#!/bin/sh\necho") == "ok"
    assert seen(b"#!/nowhere/python\n") == "fail engine_missing"
    assert seen(b"half a download") == "fail exec_format"


def test_the_version_that_a_program_prints() -> None:
    def seen(version: str | None, **facts: object) -> Finding:
        return engines.answers("nwchem", Installed("nwchem", "/usr/bin/nwchem", version, facts))

    assert word(seen("7.0.2")) == "ok"
    assert word(seen("7.0.2", libraries_missing=["libmpi.so.40"])) == "fail library_broken"
    found = seen(None, said="Illegal instruction")
    assert word(found) == "fail engine_broken"
    assert "Illegal instruction" in found.text


def test_a_basis_library_is_found_in_nwchems_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a folder in that file ends at the first blank
    there, empty, rc = tmp_path / "there", tmp_path / "empty", tmp_path / ".nwchemrc"
    there.mkdir()
    empty.mkdir()
    (there / "6-31gs").touch()
    assert word(engines.basis(f"{there}/", None, [rc])) == "ok"
    assert word(engines.basis(str(empty), str(there), [rc])) == "fail basis_library_missing"
    assert word(engines.basis(None, str(there), [rc])) == "ok"
    assert word(engines.basis(None, None, [rc])) == "warn basis_library_unknown"
    rc.write_text("ffield amber\nnwchem_basis_library there/\n")
    assert word(engines.basis(None, str(empty), [rc])) == "ok"
    rc.write_text("nwchem_basis_library there\n")
    assert word(engines.basis(None, str(there), [rc])) == "fail basis_library_missing"


def test_one_broken_check_hides_no_other() -> None:
    def broken() -> Finding:
        raise ZeroDivisionError("oh")

    def refused() -> Finding:
        raise NotReadyError("store_corrupt", "it is\n  damaged", evidence="seen", remedy="cure")

    assert word(ask("one", broken)[0]) == "fail check_failed"
    assert "ZeroDivisionError" in ask("one", broken)[0].text
    assert ask("two", refused) == [Finding("two", "fail", "it is; damaged (seen)", "cure", "store_corrupt")]
    assert ask("three", lambda: [ok("a", ""), ok("b", "")]) == [ok("a", ""), ok("b", "")]


def test_a_folder_is_tried_by_many_at_once_as_by_the_daemons_of_several_containers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        trials = list(pool.map(lambda _: folders.try_folder(tmp_path), range(200)))
    assert [trial.words for trial in trials if trial.step is not None] == []
    assert list(tmp_path.iterdir()) == []
