"""The documentation names everything there is, points at nothing that is missing, and agrees with the program."""

from __future__ import annotations

import os
import py_compile
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from qmrunner import __version__
from qmrunner.cli.program import program

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMANDS = DOCS / "reference" / "commands.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")])
LONGEST_PAGE = 400
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


def test_generated_parts_agree_with_the_program() -> None:
    """Help, settings, codes, events, exit codes, routes, transcripts, pictures: `make docs-write` renews them."""
    checked = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("command", sorted(_commands(typer.main.get_command(program()))))  # type: ignore[arg-type]
def test_every_command_is_documented(command: str) -> None:
    """The table of docs/reference/commands.md has a row for each command."""
    assert f"\n| `{command}` |" in COMMANDS.read_text(), f"add a row for `{command}` to {COMMANDS.name}"


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


def test_files_that_name_a_page_of_the_documentation_name_one_that_exists() -> None:
    """Code, tests and deployment files."""
    suffixes = {".py", ".toml", ".yaml", ".yml", ".sh", ".example"}
    folders = ("qmrunner", "tests", "deploy", "benchmarks", "examples", "migrations")
    files = [path for name in folders for path in (ROOT / name).rglob("*") if path.suffix in suffixes]
    named = {(path.name, page) for path in files for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text())}
    assert named
    assert [(name, page) for name, page in sorted(named) if not (ROOT / page).exists()] == []


def test_no_page_is_too_long_to_be_read_at_once() -> None:
    lines = {page.name: len(page.read_text().splitlines()) for page in PAGES if page.is_relative_to(DOCS)}
    assert {name: count for name, count in lines.items() if count > LONGEST_PAGE} == {}


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert named == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


def test_events_named_in_the_text_are_events_of_the_program() -> None:
    text = (DOCS / "reference" / "events.md").read_text().split("## All events")[0]
    prose = _CODE.sub("", text)
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", prose))
    source = "\n".join(path.read_text() for path in (ROOT / "qmrunner").rglob("*.py"))
    known = set(re.findall(r"[\"']([a-z_]+)[\"']", source)) | {"consumer_died", "spawner_died"}
    known |= {f"{child}_not_started" for child in ("consumer", "spawner")}
    assert {name for name in named - known if name.rpartition("_")[0] not in source} == set()


def test_transcripts_show_the_schema_of_this_program() -> None:
    head = max(path.name[:4] for path in (ROOT / "migrations" / "versions").glob("[0-9]*.py"))
    shown = {number for page in PAGES for number in re.findall(r"\bschema (\d{4})\b", page.read_text())}
    assert shown == {head}


def test_numbers_of_decisions_are_complete_and_unique() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [int(n) for page in pages for n in re.findall(r"^## (\d+)\. ", page.read_text(), re.MULTILINE)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_first_screen_of_the_readme_has_both_commands() -> None:
    """Readers see how to try it without scrolling."""
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "make demo" in first
    assert "make test" in first


def test_every_picture_exists_is_small_and_has_words() -> None:
    texts = [ROOT / "README.md", *DOCS.rglob("*.md")]
    shown = [(page, *found) for page in texts for found in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text())]
    pictures = {(page.parent / place).resolve() for page, _, place in shown}
    assert len([path for path in pictures if path.name.startswith("page-")]) >= 4
    for path in pictures:
        assert path.is_file(), path
        assert path.stat().st_size < 150_000, path
    assert all(len(words) > 10 for _, words, place in shown if place.endswith(".png"))


def test_the_documentation_loads_nothing_from_other_hosts() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in text
    assert "://" not in text


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_compile(script: Path, tmp_path: Path) -> None:
    """Scripts among the examples are valid Python."""
    py_compile.compile(str(script), cfile=str(tmp_path / "compiled.pyc"), doraise=True)


def test_every_example_has_its_line() -> None:
    """The README of the examples names each of them."""
    text = (ROOT / "examples" / "README.md").read_text()
    names = [path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".nw", ".xyz")]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_files_that_the_architecture_names_exist() -> None:
    text = (DOCS / "explanation" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.(?:py|toml|json))`", text))
    assert len(named) > 15
    missing = [name for name in sorted(named) if not (ROOT / "qmrunner" / name).exists() and not (ROOT / name).exists()]
    assert missing == []
