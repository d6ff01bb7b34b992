"""The documentation names everything there is, and points at nothing that is not there."""

from __future__ import annotations

import py_compile
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest
import typer

from qmrunner.cli.main import cli
from qmrunner.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
OPERATING = ROOT / "docs" / "operating.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _commands(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("command", sorted(_commands(typer.main.get_command(cli))))  # type: ignore[arg-type]
def test_every_command_is_documented(command: str) -> None:
    """The table of docs/operating.md has a row for each command."""
    assert f"\n| `{command}` |" in OPERATING.read_text(), f"add a row for `{command}` to {OPERATING.name}"


def test_the_settings_table_names_every_setting_and_no_other() -> None:
    """One row for each field of Settings, with its meaning."""
    rows = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| .*? \| (.*) \|$", OPERATING.read_text(), re.MULTILINE))
    expected = {field.name.upper(): field.metadata["about"] for field in fields(Settings)}
    assert rows == expected


@pytest.mark.parametrize("field", [one for one in fields(Settings) if one.default is not None], ids=lambda f: f.name)
def test_the_settings_table_tells_the_default(field: object) -> None:
    """Defaults that are plain values stand in the second column."""
    default = getattr(field, "default", None)
    if isinstance(default, str | int | float):
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        name = getattr(field, "name", "").upper()
        assert f"| `{PREFIX}{name}` | `{shown}` |" in OPERATING.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    """Every link to a file of ours has its file, and every link to a heading its heading."""
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name} points at {target}"
        assert not anchor or anchor in _anchors(there), f"{page.name} points at {target}"


def test_the_first_screen_of_the_readme_has_both_commands() -> None:
    """Whoever opens the README sees how to try it without scrolling."""
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    assert "make demo" in first
    assert "make test" in first


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_compile(script: Path, tmp_path: Path) -> None:
    """Scripts among the examples are valid Python."""
    py_compile.compile(str(script), cfile=str(tmp_path / "compiled.pyc"), doraise=True)


def test_every_example_has_its_line() -> None:
    """The README of the examples names each of them."""
    text = (ROOT / "examples" / "README.md").read_text()
    names = [path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".nw", ".xyz")]
    assert [name for name in names if f"`{name}`" not in text] == []
