"""The content of `apps.toml`."""

from __future__ import annotations

import pytest

from qmrunner.model.app_sections import sections

TWO = """
[nmr]
command = "huey_consumer nmr.queue.huey -w 2"
cwd = "/srv/nmr"
isolation = "exec"
tmpdir = "inherit"
stop = "interrupt"
[nmr.tasks."nmr.tasks.pump"]
rerun = "never"
hard_timeout_s = 1.5
follow = ["*.out"]
["mail.queue.huey".tasks."mail.send"]
cores = 1
"""


def test_the_commands_application_is_first_and_has_the_options_of_its_section() -> None:
    mail, nmr = sections(TWO, "huey_consumer mail.queue.huey -w 4")
    assert (mail.name, mail.command[-1], mail.cwd, mail.isolation) == ("mail.queue.huey", "4", None, "auto")
    assert mail.tasks == {"mail.send": {"cores": 1}}
    assert nmr.command == ("huey_consumer", "nmr.queue.huey", "-w", "2")
    assert (nmr.cwd, nmr.isolation, nmr.tmpdir, nmr.stop) == ("/srv/nmr", "exec", "inherit", "interrupt")
    assert nmr.tasks == {"nmr.tasks.pump": {"rerun": "never", "hard_timeout_s": 1.5, "follow": ["*.out"]}}


def test_without_a_file_there_is_the_command_only() -> None:
    assert sections("", None) == ()
    (only,) = sections("", "huey_consumer mail.queue.huey")
    assert (only.stop, only.tmpdir, only.tasks) == ("finish", "attempt", {})


@pytest.mark.parametrize(
    ("text", "spot"),
    [
        ("[nmr\n", "line 1"),
        ("nmr = 3", "nmr: expected a section"),
        ("[nmr]\ncwd = '/'", "nmr.command"),
        ("[nmr]\ncommand = ' '", "nmr.command"),
        ("[nmr]\ncommand = '\"open'", "nmr.command"),
        (
            "[nmr]\ncommand = 'a b'\nisolation = 'threads'",
            "nmr.isolation: 'threads' is not one of auto, fork, exec, worker",
        ),
        ("[nmr]\ncommand = 'a b'\nisolation = ['fork']", "nmr.isolation"),
        ("[nmr]\ncommand = 'a b'\ncwd = 'here'", "nmr.cwd"),
        ("[nmr]\ncommand = 'a b'\ncolour = 1", "nmr.colour"),
        ("['../x']\ncommand = 'a b'", "[../x]"),
        ("[nmr]\ncommand = 'a b'\ntasks = 1", "nmr.tasks"),
        ("[nmr]\ncommand = 'a b'\n[nmr.tasks.'t.f']\ncores = -1", 'nmr.tasks."t.f": cores=-1'),
        ("[nmr]\ncommand = 'a b'\n[nmr.tasks.'t.f']\nhard_timeout_s = nan", "hard_timeout_s=nan"),
        ("[nmr]\ncommand = 'a b'\n[nmr.tasks.'t.f']\nfollow = 'x'", "follow='x'"),
        ("[nmr]\ncommand = 'a b'\n[nmr.tasks]\n't.f' = 1", 'nmr.tasks."t.f"'),
    ],
)
def test_the_spot_of_each_problem_is_named(text: str, spot: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        sections(text, None)
    assert spot in str(refused.value)
