"""A key means one request: the same answers the old id, any other is refused, and the store stays as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qmrunner.api.upload import parsing
from qmrunner.api.upload.forms import FORM
from qmrunner.cli import program as command_line
from qmrunner.errors import ExitCode, UsageError
from qmrunner.submission.digest import digest
from tests.sampling import share

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
DECK = "geometry\n  He 0 0 0\nend\nbasis\n  * library 6-31g\nend\ntask scf\n"
COMMON = [["--name", "mine"], ["--priority", "3"], ["--fresh"], ["--allow-altering"], ["--require", "big"]]
SHAPED = [["--max-conformers", "4"], ["--max-lost-weight", "0.2"], ["--max-atoms", "50"], ["--charge", "0"],
          ["--mult", "1"], ["--temperature", "310"], ["--solvent", "water"]]  # fmt: skip
PROGRAM = [["--unconfined"], ["--with", "near.txt"], ["--with", "other/near.txt"], ["--", "--chrg", "0"]]
# A submission, and each request that differs from it in one thing.
KINDS: dict[str, tuple[list[str], list[list[str]]]] = {
    "nmr": (["CCO"], [*COMMON, *SHAPED, ["--level", "production"], ["--conformers", "rdkit"]]),
    "conformers": (["CCO", "--conformers", "rdkit"], [*COMMON, *SHAPED]),
    "nwchem": (["a.nw"], [*COMMON, *PROGRAM[:3]]),
    "xtb": (["a.xyz"], [*COMMON, *PROGRAM]),
    "crest": (["a.xyz"], [*COMMON, *PROGRAM]),
}
OTHERS = {"nmr": "CCCO", "conformers": "CCCO", "nwchem": "other/a.nw", "xtb": "other/a.xyz", "crest": "other/a.xyz"}


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A submission in a folder with the files above; returns what it prints."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "other").mkdir()
    for name, text in {"a.xyz": WATER, "a.nw": DECK, "near.txt": "near\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / "other" / name).write_text(text + "\n")
    for name in [name for name in os.environ if name.startswith("QMRUNNER_")]:
        monkeypatch.delenv(name)
    for name, value in {"HOME": tmp_path / "home", "XTB": program, "CREST": program, "NWCHEM": program}.items():
        monkeypatch.setenv(f"QMRUNNER_{name}", str(value))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        capsys.readouterr()
        assert not command_line.program()(["submit", *words], standalone_mode=False)
        return capsys.readouterr().out.strip()

    return run


@pytest.mark.parametrize("kind", share(KINDS, 3))
def test_every_option_that_changes_the_job_makes_another_request(kind: str, submit: Callable[..., str]) -> None:
    plain, changes = KINDS[kind]
    requests = [plain, [OTHERS[kind], *plain[1:]], *([*plain, *change] for change in changes)]
    for number, request in enumerate(requests):
        job = submit(kind, "--key", f"k{number}", *request)
        assert submit(kind, "--key", f"k{number}", *request) == job
    pairs = [(at, requests[at - 1]) for at in range(1, len(requests))] + [(0, one) for one in requests[1:]]
    for at, request in pairs:
        with pytest.raises(UsageError) as refused:
            submit(kind, "--key", f"k{at}", *request)
        assert (refused.value.code, refused.value.exit_code) == ("key_in_use", ExitCode.USAGE)
    assert len(submit("xtb", "a.xyz")) == 8  # without a key nothing is compared


def test_a_default_that_is_written_out_and_the_folder_of_a_file_change_nothing(submit: Callable[..., str]) -> None:
    job = submit("nmr", "CCO", "--key", "k")
    assert submit("nmr", "--solvent", "chloroform", "--level", "draft", "CCO", "--key", "k", "--priority", "0") == job
    Path("same").mkdir()
    Path("same/a.xyz").write_text(WATER)
    run = submit("xtb", "a.xyz", "--key", "x")
    assert submit("xtb", "same/a.xyz", "--key", "x") == run


def test_a_kind_is_part_of_the_request(submit: Callable[..., str]) -> None:
    submit("xtb", "a.xyz", "--key", "k")
    with pytest.raises(UsageError) as refused:
        submit("crest", "a.xyz", "--key", "k")
    assert refused.value.code == "key_in_use"


def test_the_command_line_and_http_mean_the_same_by_a_request(
    submit: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(*given: object) -> str:
        seen.append(digest(*given))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr("qmrunner.submission.digest.digest", watched)
    for words, form, files in (
        (["nmr", "CCO", "--mult", "1", "--temperature", "310"],
         {"kind": "nmr", "smiles": "CCO", "multiplicity": 1, "temperature_k": 310.0}, []),
        (["conformers", "CCO", "--conformers", "rdkit", "--require", "big"],
         {"kind": "conformers", "smiles": "CCO", "conformers": "rdkit", "require": ["big"]}, []),
        (["xtb", "a.xyz", "--with", "near.txt", "--", "--opt"],
         {"kind": "xtb", "args": ["--opt"]}, ["a.xyz", "near.txt"]),
        (["nwchem", "a.nw", "--fresh", "--name", "x"], {"kind": "nwchem", "fresh": True, "name": "x"}, ["a.nw"]),
    ):  # fmt: skip
        submit(*words[:2], "--key", str(len(seen)), *words[2:])
        fields = FORM.validate_python(form).model_dump(exclude={"files"}, exclude_defaults=True)
        assert digest(fields, parsing.hashed([Path(name) for name in files])) == seen[-1]
