"""Lines of a detailed input that xTB ignores without a message are refused; all others pass."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from qmrunner.engines.xtb import detailed_input
from qmrunner.engines.xtb.read import read_log
from qmrunner.errors import UsageError
from qmrunner.submission import job_kinds
from tests.support import missing
from tests.surroundings import plain

WATER = "3\n\nO 0 0 .117\nH 0 .757 -.47\nH 0 -.757 -.47\n"
FREE = -5.070544378445  # hartree: GFN2-xTB, all atoms optimised
# What was written → a part of the message, None where xTB obeys.
INPUTS: dict[str, str | None] = {
    "$fix\n   atoms: 1-2\n$end\n": None,
    "$fix\n   atoms: 1-2\t\n$end\n": None,
    "$fix\n   atoms:\t1-2\n$end\n": None,
    "$fix\r\n   atoms: 1-2\r\n$end\r\n": None,
    "$fix\n   atoms: 1-2\n": None,
    "$fix\n   atoms: 1-2\n$END\n": None,
    "a remark\n$fix\n atoms: 1-2\n$end\n": None,
    "$constrain\n   force constant=1.0\n   distance: 1, 2, 1.2\n$end\n": None,
    "$fix\n\tatoms: 1-2\n$end\n": "line 2 .*a tab comes before the entry",
    "$fix\n \t atoms: 1-2\n$end\n": "line 2 .*a tab comes before the entry",
    "$constrain\n\tdistance: 1, 2, 1.2\n$end\n": "line 2 .*a tab comes before the entry",
    "$fix\t\n   atoms: 1-2\n$end\n": "line 1 .*a tab follows",
    "$FIX\n   atoms: 1-2\n$end\n": r"line 1 .*no block \$FIX",
    "$fxi\n   atoms: 1-2\n$end\n": r"line 1 .*no block \$fxi",
    "$chrg 0\n$constrian\n   distance: 1, 2, 1.2\n$end\n": r"line 2 .*no block \$constrian",
}


def checked(text: str) -> None:
    detailed_input.check(["--opt", "--input", "x.inp"], {"x.inp": text.encode(), "water.xyz": b"\tH: 0\n"})


@pytest.mark.parametrize("text", INPUTS)
def test_only_lines_without_effect_are_refused(text: str) -> None:
    wanted = INPUTS[text]
    if wanted is None:
        checked(text)
        return
    with pytest.raises(UsageError, match=wanted) as refused:
        checked(text)
    assert refused.value.code == "input_ignored"
    assert refused.value.remedy
    assert "\t" not in str(refused.value.evidence)


@pytest.mark.parametrize(
    "text", ["$newblock\n key: 1\n$end\n", "$write\n   json=true\n$end\n", "", "\tno block: here\n"]
)
def test_what_a_newer_program_may_know_passes(text: str) -> None:
    checked(text)


def test_without_a_detailed_input_no_file_is_looked_at() -> None:
    detailed_input.check(["--opt"], {"x.inp": b"$FIX\n"})
    detailed_input.check(["--input", "elsewhere.inp"], {"x.inp": b"$FIX\n"})


@pytest.mark.engine
def test_the_real_program_obeys_what_passes_and_ignores_what_is_refused(tmp_path: Path) -> None:
    program = shutil.which(os.environ.get("QMRUNNER_XTB", "xtb")) or missing("xTB is not installed")
    (tmp_path / "water.xyz").write_text(WATER)
    command = [program, "water.xyz", "--opt", "--input", "x.inp", "--norestart"]
    env = plain() | {"OMP_NUM_THREADS": "1"}
    for text in (*list(INPUTS)[:2], *list(INPUTS)[8:9], *list(INPUTS)[11:14]):
        wanted = INPUTS[text]
        (tmp_path / "x.inp").write_bytes(text.encode())
        with (tmp_path / "log").open("wb") as log:
            subprocess.run(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, env=env, timeout=60, check=True)
        energy = read_log(tmp_path / "log").energy_hartree
        assert energy is not None
        assert (abs(energy - FREE) < 1e-8) == (wanted is not None), (text, energy)


# Those that name atoms 4 or 0 of water; in `$constrain` xTB reports them itself.
BEYOND = {
    "$fix\n   atoms: 4\n$end\n": True,
    "$fix\n   atoms: 1-4\n$end\n": True,
    "$fix\n   atoms: 1,2, 9\n$end\n": True,
    "$fix\n   atoms: 0\n$end\n": True,
    "$metadyn\n   save=5\n   atoms: 2-7\n$end\n": True,
    "$fix\n   atoms: 1-3\n$end\n": False,
    "$fix\n   atoms: 1,3\n   elements: O\n$end\n": False,
    "$constrain\n   atoms: 9\n$end\n": False,
    "atoms: 9\n": False,
}


@pytest.mark.parametrize("text", BEYOND)
def test_an_atom_that_the_structure_does_not_have_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.inp").write_text(text)
    (tmp_path / "water.xyz").write_text(WATER)
    request = (str(tmp_path / "water.xyz"), ["--opt", "--input", "x.inp"], [str(tmp_path / "x.inp")])
    if not BEYOND[text]:
        assert job_kinds.xtb(*request).params["atoms"] == ["O", "H", "H"]
        return
    with pytest.raises(UsageError) as refused:
        job_kinds.xtb(*request)
    assert refused.value.code == "input_error"
    assert "atoms" in str(refused.value.evidence)
