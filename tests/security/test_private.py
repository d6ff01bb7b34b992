"""Whose folders are taken for ours: roots, all that lies above and below them, and what an umask leaves open."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qmrunner import private, untrusted
from qmrunner.attempt.directory import AttemptDirectory, LogProblem, make_log
from qmrunner.doctor import folders
from qmrunner.errors import NotReadyError
from tests.sampling import share
from tests.support import ROOT, Daemon, Home, ended_daemons, missing

NOBODY = 65534


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        missing("only root can make folders of other users")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


# -- roots ------------------------------------------------------------------------------------------------------------

# Owner, group, mode of the root; the reason to refuse it without and with the group's trust.
ROOTS = {
    "ours": (0, 0, 0o700, None, None),
    "readable": (0, 0, 0o755, None, None),
    "of root's group": (0, 0, 0o770, None, None),
    "of our own group": (1000, 1000, 0o775, None, None),
    "of our group": (0, 77, 0o775, "group 77", None),
    "foreign, of our group": (NOBODY, 77, 0o770, "belongs", None),
    "foreign": (NOBODY, NOBODY, 0o700, "belongs", "belongs"),
    "of another group": (0, 99, 0o770, "group 99", "group 99"),
    "open": (0, 0, 0o777, "all users", "all users"),
    "sticky": (0, 0, 0o1777, "all users", "all users"),
    "open and foreign": (NOBODY, NOBODY, 0o1777, "belongs", "belongs"),
}


@pytest.mark.parametrize("name", ROOTS)
def test_a_root_that_others_can_write_to_is_refused(name: str) -> None:
    uid, gid, mode, alone, together = ROOTS[name]
    found = os.stat_result((stat.S_IFDIR | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))
    for groups, wanted in ((frozenset[int](), alone), (frozenset({77}), together)):
        why = private.Trust(uid if uid == 1000 else 0, groups).objection(found)
        assert (why is None) == (wanted is None)
        assert (wanted or "") in (why or "")


@pytest.mark.parametrize("where", ["root", "above"])
@pytest.mark.parametrize(("owner", "mode"), [(NOBODY, 0o755), (0, 0o777)])
def test_a_refusal_names_the_folder_and_what_to_do(
    tmp_path: Path, as_root: None, where: str, owner: int, mode: int
) -> None:
    root = tmp_path / "above" / "root"
    root.mkdir(parents=True)
    (root / "something").touch()
    bad = root if where == "root" else root.parent
    os.chown(bad, owner, owner)
    os.chmod(bad, mode)
    with pytest.raises(NotReadyError) as refused:
        private.make_root(root, "off", "QMRUNNER_SCRATCH")
    assert refused.value.code == "folder_not_private"
    assert str(bad) in str(refused.value.evidence)
    assert "QMRUNNER_SCRATCH" in str(refused.value.remedy)


@pytest.mark.parametrize("above", [(0, 0o755), (0, 0o777), (0, 0o1777), (NOBODY, 0o755)])
@pytest.mark.parametrize("thing", ["missing", "empty", "file", *(name for name in ROOTS if "group" not in name)])
def test_doctor_finds_what_run_refuses_and_changes_nothing(
    tmp_path: Path, as_root: None, above: tuple[int, int], thing: str
) -> None:
    outer, root = tmp_path / "above", tmp_path / "above" / "root"
    outer.mkdir()
    if thing in ROOTS:
        uid, gid, mode, *_ = ROOTS[thing]
        root.mkdir()
        (root / "something").touch()
        os.chown(root, uid, gid)
        os.chmod(root, mode)
    elif thing == "empty":
        root.mkdir()
        os.chmod(root, 0o777)
    elif thing == "file":
        root.touch()
    os.chown(outer, above[0], above[0])
    os.chmod(outer, above[1])
    before = {path: (path.lstat().st_mode, path.lstat().st_uid) for path in (outer, *outer.iterdir())}
    found = folders.privacy([("QMRUNNER_HOME", root)], "off")
    assert {path: (path.lstat().st_mode, path.lstat().st_uid) for path in (outer, *outer.iterdir())} == before
    refused: NotReadyError | FileExistsError | None = None
    try:
        private.make_root(root, "off", "QMRUNNER_HOME")
    except (NotReadyError, FileExistsError) as error:
        refused = error
    if isinstance(refused, NotReadyError):
        assert (found.result, found.code, found.remedy) == ("fail", refused.code, refused.remedy)
    else:
        assert (found.code == "folder_not_private") == (thing == "file") == (refused is not None)


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_fresh_volume_of_ours_is_closed(tmp_path: Path, mode: int) -> None:
    """As a home on a new filesystem in memory; the scratch of all users of a machine is another thing."""
    home = tmp_path / "home"
    home.mkdir()
    os.chmod(home, mode)
    private.make_root(home, "off", "QMRUNNER_HOME")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_below_a_folder_that_all_share_lies_a_private_one(tmp_path: Path, as_root: None) -> None:
    """The /scratch of a node."""
    shared = tmp_path / "scratch"
    shared.mkdir()
    os.chmod(shared, 0o1777)
    home = Home(tmp_path / "home", {"QMRUNNER_SCRATCH": str(shared), "QMRUNNER_LOGS": str(shared)})
    own = shared / f"qmrunner-{os.geteuid()}"
    assert home.settings.scratch_root == home.settings.logs_root == own
    with ended_daemons(home) as start:
        assert start().stop() == 0
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert os.listdir(shared) == [own.name]


@pytest.mark.parametrize("thing", ["foreign", "link", "pipe", "open"])
def test_the_own_folder_of_a_shared_one_must_be_ours(tmp_path: Path, as_root: None, thing: str) -> None:
    shared = tmp_path / "scratch"
    shared.mkdir()
    os.chmod(shared, 0o1777)
    own = shared / f"qmrunner-{os.geteuid()}"
    if thing == "link":
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, NOBODY, NOBODY)
        own.symlink_to(theirs)
    elif thing == "pipe":
        os.mkfifo(own)
    else:
        own.mkdir()
        if thing == "foreign":
            os.chown(own, NOBODY, NOBODY)
        else:
            (own / "something").touch()
            os.chmod(own, 0o777)
    home = Home(tmp_path / "home", {"QMRUNNER_SCRATCH": str(shared)})
    ended = home.run("run")
    assert ended.returncode == 4
    assert str(own) in ended.stderr
    assert "fix:" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- levels -----------------------------------------------------------------------------------------------------------


def foreign(path: Path) -> None:
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)


def opened(path: Path) -> None:
    path.mkdir()
    os.chmod(path, 0o777)


def linked(path: Path) -> None:
    real = path.with_name("elsewhere")
    real.mkdir(exist_ok=True)
    path.symlink_to(real)


LEVELS: dict[str, Callable[[Path], object]] = {
    "foreign": foreign,
    "open": opened,
    "link": linked,
    "pipe": os.mkfifo,
    "file": Path.touch,
}


@pytest.mark.parametrize("thing", LEVELS)
@pytest.mark.parametrize("level", ["job", "job/step", "job/step/1"])
def test_a_level_that_is_not_ours_holds_no_attempt(
    tmp_path: Path, as_root: None, umask: None, level: str, thing: str
) -> None:
    place = tmp_path / level
    place.parent.mkdir(parents=True, exist_ok=True)
    LEVELS[thing](place)
    folder = AttemptDirectory(tmp_path / "job" / "step" / "1")
    with pytest.raises((untrusted.Refused, FileExistsError)):
        folder.make()
    if thing != "file" or level != "job/step/1":
        assert not (folder.path / "work").exists()
    with pytest.raises((untrusted.Refused, FileNotFoundError)):
        folder.open()
    assert folder.lost()
    assert folder.exit_record() is None


@pytest.mark.parametrize("thing", LEVELS)
def test_the_folder_of_a_log_must_be_ours(tmp_path: Path, as_root: None, umask: None, thing: str) -> None:
    LEVELS[thing](tmp_path / "job")
    with pytest.raises(LogProblem):
        make_log(tmp_path / "job" / "xtb.1.log")


def test_an_attempt_is_made_for_us_alone(tmp_path: Path, umask: None) -> None:
    folder = AttemptDirectory(tmp_path / "job" / "step" / "1")
    folder.make()
    for path in (folder.work, *folder.work.parents[:3]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert folder.lost() is None
    os.close(folder.open())
    with pytest.raises(FileExistsError):
        folder.make()


# -- umask ------------------------------------------------------------------------------------------------------------


def _modes(home: Path) -> dict[str, int]:
    found = {}
    for path in (home, *home.rglob("*")):
        with suppress(FileNotFoundError):  # a journal of SQLite lives for milliseconds
            if not path.is_symlink():
                found[str(path.relative_to(home.parent))] = stat.S_IMODE(path.lstat().st_mode)
    return found


@pytest.mark.parametrize("mask", share([0o000, 0o022, 0o077], 3))
@pytest.mark.parametrize(("access", "closed"), [("off", 0o077), ("read", 0o027), ("write", 0o007)])
def test_a_home_is_ours_alone_whatever_the_umask(tmp_path: Path, mask: int, access: str, closed: int) -> None:
    home = Home(tmp_path / "home", {"QMRUNNER_GROUP_ACCESS": access})
    before = os.umask(mask)
    try:
        with ended_daemons(home) as start:
            start(fresh=True)
            found = _modes(home.path)
    finally:
        os.umask(before)
    assert "home/run/spawner.sock" in found
    assert {name: oct(mode) for name, mode in found.items() if mode & closed} == {}


def test_what_an_earlier_umask_left_open_is_closed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with ended_daemons(home) as start:
        start().stop()
        for path in (home.path / "run", home.path / "store.db", home.path / "home.id"):
            os.chmod(path, 0o755)
        start()
        assert {name: oct(mode) for name, mode in _modes(home.path).items() if mode & 0o077} == {}


# As another user of this machine: every file and every socket of the home.
_STRANGER = """
import json, os, socket, sys
home = sys.argv[1]
os.setgid(65534); os.setuid(65534)
got = []
for root, folders, files in os.walk(home):
    got += [os.path.join(root, name) for name in files]
for name in ("store.db", "queue.db", "home.id", "run/events.jsonl", "run/state.json"):
    try:
        open(os.path.join(home, name), "rb").read(); got.append(name)
    except OSError:
        pass
for name in ("spawner.sock", "wake.sock", "reports.sock"):
    for kind in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as one:
            try:
                one.connect(os.path.join(home, "run", name)); got.append(name)
            except OSError:
                pass
print(json.dumps(got))
"""


def test_another_user_reads_nothing_and_reaches_no_socket(tmp_path: Path, as_root: None) -> None:
    for level in (tmp_path, *tmp_path.parents):
        if level != (temporary := Path(tempfile.gettempdir())) and level.is_relative_to(temporary):
            os.chmod(level, 0o755)  # as far as the home, which is what is tested
    home = Home(tmp_path / "home")
    before = os.umask(0)
    try:
        with ended_daemons(home) as start:
            _: Daemon = start()
            told = subprocess.run(
                [sys.executable, "-c", _STRANGER, str(home.path)], cwd=ROOT, capture_output=True, text=True, check=True
            )
    finally:
        os.umask(before)
    assert json.loads(told.stdout) == []


_ON_ANOTHERS_HOME = """
import os, sys
from qmrunner import settings
from qmrunner.errors import QmrunnerError
os.setgid(65534); os.setuid(65534)
try:
    settings.load({"QMRUNNER_HOME": sys.argv[1]})
except QmrunnerError as refused:
    print(refused)
"""


def test_a_command_on_the_home_of_another_user_names_that_user(tmp_path: Path, as_root: None) -> None:
    for level in (tmp_path, *tmp_path.parents):
        if level != (temporary := Path(tempfile.gettempdir())) and level.is_relative_to(temporary):
            os.chmod(level, 0o755)
    (home := tmp_path / "home").mkdir(mode=0o700)
    argv = [sys.executable, "-c", _ON_ANOTHERS_HOME, str(home)]
    refused = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"{home} is private to user id 0, and this is 65534" in refused
