"""Files of the application have the permissions that they have without qmrunner, those of the home are private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.apps.conftest import Lab
from tests.sampling import share
from tests.support import wait_for

PRIVATE = 0o077


def modes(folder: Path) -> dict[str, int]:
    """The permissions of the files and folders in `folder`, without those that end meanwhile."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *files)):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                found[str(path.relative_to(folder))] = stat.S_IMODE(status.st_mode)
    return found


@pytest.mark.parametrize(
    "isolation", ["fork", pytest.param("exec", marks=pytest.mark.slow), pytest.param("worker", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("mask", share([0o022, 0o002], 2))
def test_an_application_keeps_its_umask_and_the_home_its_own(lab: Lab, isolation: str, mask: int) -> None:
    lab.home.path.mkdir(mode=0o700)
    (lab.home.path / "apps.toml").write_text(f'["nmr.queue.huey"]\nisolation = "{isolation}"\n')
    lab.start(before=("sh", "-c", f'umask {mask:03o}; exec "$@"', "sh"))
    huey_id = lab.enqueue("tasks.optimise('j', 2)")
    wait_for(lambda: lab.engines("j"), 40.0, "the engine")
    of_attempt = modes(lab.home.path / "scratch")
    assert lab.await_result(huey_id)["job"] == "j"
    made = modes(lab.folder / "data/jobs/j")
    assert made.pop("bodies") == 0o666 & ~mask
    assert made.pop("optimize.out") == 0o666 & ~mask  # of a program that the task started
    assert made == dict.fromkeys(made, 0o666 & ~mask)
    assert modes(lab.folder / "data")["jobs/j"] == 0o777 & ~mask
    if isolation != "worker":  # the hooks of the host
        assert modes(lab.folder / "data")["hooks"] == 0o666 & ~mask
    names = {name.rpartition("/")[2] for name in of_attempt}
    assert names >= {"guardian.json", "begun"}
    of_home = modes(lab.home.path)
    of_home.pop("apps.toml")
    assert {name: mode for name, mode in (of_attempt | of_home).items() if mode & PRIVATE} == {}
