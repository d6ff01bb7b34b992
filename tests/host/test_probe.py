"""Finding programs: the registry, the probe, and what it remembers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import pytest

from qmrunner.engines import ENGINES, NAMES, get
from qmrunner.engines.base import Installed
from qmrunner.engines.crest.engine import Crest
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.errors import NotFoundError
from qmrunner.host.probe import probe
from tests.engines.support import FIXTURES


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_registry_gives_one_engine_per_name() -> None:
    assert set(NAMES) == {"nwchem", "xtb", "crest", "chemistry"} == set(ENGINES)
    assert get("xtb") is ENGINES["xtb"]
    assert get("crest").name == "crest"


def test_an_unknown_engine_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFoundError, match="no engine 'xbt'") as caught:
        get("xbt")
    assert "'xtb'" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("folder", "version", "native"), [("ethanol", "3.0.2", True), ("ethanol-v2.12", "2.12", False)]
)
def test_a_recorded_crest_banner_reports_version_and_kind(folder: str, version: str, native: bool) -> None:
    banner = (FIXTURES / "crest" / folder / "stdout.txt").read_text()
    got = Crest().read_probe(Installed("crest", "/x/crest", facts={"xtb": None}), [banner])
    assert (got.version, got.facts["native"], got.facts["xtb"]) == (version, native, None)


def test_a_recorded_xtb_banner_reports_its_version() -> None:
    for folder, version in (("ok-energy-water", "6.5.1"), ("ok-energy-water-v6.7.1", "6.7.1")):
        banner = (FIXTURES / "xtb" / folder / "stdout.txt").read_text()
        assert Xtb().read_probe(Installed("xtb", "/x/xtb"), [banner]).version == version


def test_a_probe_asks_the_configured_program_once_until_it_changes(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program = script(tmp_path / "xtb-6.9", f"echo x >> {quote(str(asked))}; echo '   * xtb version 6.9.0 (abc)'")
    configured = {"xtb": str(program)}
    assert probe(Xtb(), configured).version == "6.9.0"
    assert probe(Xtb(), configured).path == str(program)
    assert asked.read_text() == "x\n"
    script(program, f"echo x >> {quote(str(asked))}; echo '   * xtb version 6.9.1 (abc)'")
    os.utime(program, ns=(1, 1))
    assert probe(Xtb(), configured).version == "6.9.1"


def test_a_program_that_is_not_there_is_not_run(tmp_path: Path) -> None:
    found = probe(Xtb(), {"xtb": str(tmp_path / "nothing")})
    assert found.path is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", None),
        ("kill -9 $$", None),
        ("head -c 3000000 /dev/zero", None),
        ("echo no banner; echo", "no banner"),
        ("head -c 3000000 /dev/zero | tr '\\0' x", "x" * 200),
    ],
)
def test_a_probe_that_fails_leaves_the_version_unknown_and_reports_its_last_words(
    text: str, said: str | None, tmp_path: Path
) -> None:
    found = probe(Xtb(), {"xtb": str(script(tmp_path / "xtb", text))})
    assert found.path is not None
    assert found.version is None
    assert found.facts["said"] == said


def test_a_probe_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = script(tmp_path / "xtb", f"echo 'xtb version 6.0'; sleep 600 & echo $! > {quote(str(pid))}; wait")
    assert probe(Xtb(), {"xtb": str(program)}, timeout_s=1.0).version == "6.0"
    status = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_probe_writes_nothing_into_the_directory_it_is_asked_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    program = script(tmp_path / "xtb", "touch litter; echo 'xtb version 6.0'")
    probe(Xtb(), {"xtb": str(program)})
    assert list(home.iterdir()) == []


def test_an_engine_without_probe_commands_is_read_as_it_was_found() -> None:
    class Silent(Xtb):
        def probe_argv(self, found: Installed) -> Sequence[tuple[str, ...]]:
            return ()

    assert probe(Silent(), {"xtb": "/bin/true"}).path == "/bin/true"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_registry_leads_to_an_engine_of_that_name(name: str) -> None:
    assert get(name).name == name
