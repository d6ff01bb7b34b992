"""The wheel has the same bytes from every build; man page and completion are as their readers need them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT, Home, missing
from tests.surroundings import plain

SOURCES = ("qmrunner", "migrations", "deploy", "pyproject.toml", "LICENSE", "README.md", "constraints.txt")


def built(folder: Path, **variables: str) -> Path:
    """The wheel of a copy of this checkout, whose files are all as old as the copy."""
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy
            )
        else:
            shutil.copy(source, folder / name)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "out")],
        cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=100, umask=0o077,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "out").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if not (ROOT / "qmrunner/web/static/vendor/.stamp").exists():
        missing("the files of the pages are not here: the build would fetch them")
    place = tmp_path_factory.mktemp("wheels")
    first = built(place / "a", TZ="UTC", PYTHONHASHSEED="1")
    return first, built(place / "another name", TZ="Pacific/Auckland", PYTHONHASHSEED="2", LC_ALL="C")


def test_two_builds_give_equal_bytes(wheels: tuple[Path, Path]) -> None:
    first, second = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels)
    assert first == second


def test_the_wheel_has_man_page_unit_migrations_and_no_tests(wheels: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(wheels[0]).namelist()
    data = [name.partition(".data/data/")[2] for name in names if ".data/data/" in name]
    assert sorted(data) == ["share/man/man1/qmrunner.1", "share/qmrunner/qmrunner.service"]
    assert any(name.startswith("qmrunner/_migrations/") for name in names)
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".pyc")]


def test_the_man_page_has_no_mistake_and_every_command() -> None:
    page = ROOT / "deploy" / "qmrunner.1"
    if shutil.which("groff") is None:
        missing("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    text = page.read_text()
    assert {"submit qcschema", "result", "token add", "db upgrade"} <= {
        line.removeprefix(".SS ").partition(" \\fI")[0] for line in text.splitlines() if line.startswith(".SS ")
    }
    assert "\\-\\-format" in text


def test_bash_completes_commands_and_options(home: Home) -> None:
    script = home.run("completion", "bash")
    assert script.returncode == 0, script.stderr
    command = home.path.parent / "qmrunner"  # as the console script: its name decides about the variable
    command.write_text(f"#!{sys.executable}\nfrom qmrunner.cli.main import main\nmain()\n")
    command.chmod(0o755)
    asked = ("submit q", "result --for")
    code = script.stdout + "".join(
        f"COMPREPLY=(); COMP_WORDS=(qmrunner {words}); COMP_CWORD=2\n"
        f"_qmrunner_completion qmrunner; echo ${{COMPREPLY[@]}}\n"
        for words in asked
    )
    path = f"{command.parent}:{os.environ['PATH']}"
    environment = home.environment(PYTHONPATH=str(ROOT), LC_ALL="C.UTF-8", PATH=path)
    done = subprocess.run(["bash", "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["qcschema", "--format"], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_one_that_its_shell_can_read(shell: str, home: Home) -> None:
    script = home.run("completion", shell).stdout
    assert f"_QMRUNNER_COMPLETE=complete_{shell}" in script
    if shutil.which(shell) is not None:
        done = subprocess.run([shell, "-n"], input=script, env=plain(), capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_shell_is_refused(home: Home) -> None:
    refused = home.run("completion", "bsh")
    assert (refused.returncode, "did you mean bash?" in refused.stderr) == (2, True)
