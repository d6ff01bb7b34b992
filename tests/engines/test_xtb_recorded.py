"""Every recorded xTB run gets the verdict a person would give it."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.base import Context, Installed
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.errors import UsageError
from qmrunner.model.jobs import Exit, Grant, Outcome
from tests.engines.support import FIXTURES, attempt, exit_of, step

RECORDED = sorted(path.parent for path in (FIXTURES / "xtb").glob("*/meta.json"))
RUNS = sorted(path.parent for path in (FIXTURES / "xtb-runs").rglob("run.json"))
# Without the input these look like something else, and rightly so: `prepare` refuses them (tested below).
SEEN_FROM_OUTPUT = {
    "uhf-too-many-abort": ("failed", "crashed"),
    "xyz-count-too-small-exit-0-v6.7.1": ("succeeded", "ok"),
    "xyz-decimal-comma": ("failed", "geometry_bad"),
}
# What was sent is known to the supervisor alone.
STOP_REASONS = {"input-empty-hang": "hung", "stopped-hang-ohess": "hung"}
OOM_KILLED = {"container-oom-opt"}


@dataclass
class Case:
    folder: Path
    meta: dict[str, Any]

    @property
    def args(self) -> list[str]:
        command = self.meta["command"].split(" > ")[0].split(";")[-1]
        words = shlex.split(command)
        start = next(
            at for at, word in enumerate(words) if word.rpartition("/")[2].startswith("xtb") and "=" not in word
        )
        return words[start + 2 :]


def load(folder: Path) -> Case:
    return Case(folder, json.loads((folder / "meta.json").read_text()))


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_a_recorded_run_gets_its_true_verdict(folder: Path, tmp_path: Path) -> None:
    case = load(folder)
    name = folder.name
    expected = case.meta["expected"]
    outcome = "failed" if expected["outcome"] == "truncated" else expected["outcome"]
    wanted = SEEN_FROM_OUTPUT.get(name, (outcome, expected["code"]))
    directory, log = attempt(folder, case.meta["files_after"], tmp_path)
    got = Xtb().interpret(
        step("xtb", "user", structure="input.xyz", args=case.args),
        directory,
        log,
        exit_of(case.meta, stop_reason=STOP_REASONS.get(name), oom_kills=int(name in OOM_KILLED)),
    )
    assert (got.state, got.code) == wanted, got
    if got.state != "succeeded":
        assert got.evidence is not None
        assert got.remedy
        assert got.failure_class
    # Two lines say the same there.
    if (
        name != "engine-not-executable"
        and expected["evidence"]
        and got.code == expected["code"]
        and got.state != "succeeded"
    ):
        assert got.evidence is not None
        assert got.evidence.text.strip() == expected["evidence"].strip()


@pytest.mark.parametrize("folder", [f for f in RECORDED if f.name.startswith("ok-")], ids=lambda folder: folder.name)
def test_a_good_run_has_a_finite_energy_and_publishes_its_files(folder: Path, tmp_path: Path) -> None:
    case = load(folder)
    directory, log = attempt(folder, case.meta["files_after"], tmp_path)
    wanted = step("xtb", "user", structure="input.xyz", args=case.args, inputs={"input.xyz": "input/input.xyz"})
    got = Xtb().interpret(wanted, directory, log, exit_of(case.meta))
    assert got.result["energy_hartree"] < 0
    assert got.result["gradient_norm"] is not None
    optimising = "--opt" in case.args or "--ohess" in case.args
    assert got.result["converged"] is (True if optimising else None)
    assert ("xtbopt.xyz" in got.publish) is optimising
    assert got.promote == got.publish
    assert "input.xyz" not in got.publish


RUN_VERDICTS = {
    "butanol-opt": ("succeeded", "ok"),
    "ethanol-ohess": ("succeeded", "ok"),
    "ethanol-opt": ("succeeded", "ok"),
    "ethanol-sp": ("succeeded", "ok"),
    "ethanol-unknown-option": ("failed", "input_error"),
    "atoms-overlap": ("failed", "geometry_bad"),
    "atoms-too-close-abort": ("failed", "crashed"),
    "empty-xyz-hangs": ("stopped", "hung"),
    "geometry-not-converged-exit-0": ("failed", "optimization_not_converged"),
    "missing-file": ("failed", "input_missing"),
    "scf-not-converged": ("failed", "scf_not_converged"),
    "sigterm": ("stopped", "terminated"),
    "truncated-xyz": ("failed", "input_error"),
    "unknown-element": ("failed", "input_error"),
    "unknown-solvent": ("failed", "illegal_solvent"),
}


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_a_recorded_command_gets_its_true_verdict(folder: Path, tmp_path: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    directory, log = attempt(folder, run["files_after"], tmp_path)
    ended = exit_of(run, stop_reason="hung" if folder.name == "empty-xyz-hangs" else None)
    got = Xtb().interpret(step("xtb", "user", structure=run["argv"][1], args=run["argv"][2:]), directory, log, ended)
    assert (got.state, got.code) == RUN_VERDICTS[folder.name], got


def test_an_optimisation_reports_energy_gradient_cycles_and_publishes_one_geometry(tmp_path: Path) -> None:
    folder = FIXTURES / "xtb-runs/ethanol-opt"
    run = json.loads((folder / "run.json").read_text())
    directory, log = attempt(folder, run["files_after"], tmp_path)
    asked = step("xtb", "optimise", charge=0, multiplicity=1, alpb="chcl3", atoms=list("CCOHHHHHH"))
    got = Xtb().interpret(asked, directory, log, exit_of(run))
    assert got.state == "succeeded"
    assert got.result["energy_hartree"] == pytest.approx(-11.400628689078, abs=1e-12)
    assert got.result["gradient_norm"] == pytest.approx(0.000176254932)
    assert got.result["converged"] is True
    assert got.result["cycles"] == 7
    assert got.publish == ("geometry.xyz",)
    assert (directory / "geometry.xyz").read_bytes() == (folder / "xtbopt.xyz").read_bytes()


LINEAR = FIXTURES / "xtb-linear/acetylene-ohess"
ABORTED = Exit(None, signal.SIGABRT)


def linear(tmp_path: Path) -> Path:
    """What xTB 6.5.1 left of acetylene when its thermochemistry crashed."""
    directory = tmp_path / "work"
    shutil.copytree(LINEAR, directory)
    (directory / "engine.log").write_text((LINEAR / "stdout.txt").read_text() + (LINEAR / "stderr.txt").read_text())
    return directory


def of_acetylene(directory: Path, ended: Exit, atoms: str = "CCHH", **params: Any) -> Outcome:
    asked = step("xtb", "optimise", charge=0, multiplicity=1, alpb="chcl3", atoms=list(atoms), **params)
    return Xtb().interpret(asked, directory, directory / "engine.log", ended)


@pytest.mark.parametrize("ended", [ABORTED, Exit(128 + signal.SIGABRT), Exit(None, signal.SIGSEGV)])
def test_a_crash_behind_whole_results_is_a_success_that_reports_it(tmp_path: Path, ended: Exit) -> None:
    directory = linear(tmp_path)
    got = of_acetylene(directory, ended, hessian=True)
    assert (got.state, got.code) == ("succeeded", "ok"), got
    assert got.publish == ("geometry.xyz", "hessian")
    assert got.result["energy_hartree"] == pytest.approx(-5.209733, abs=1e-5)
    assert got.result["lowest_wavenumber_cm1"] > 300
    assert "only after the result was complete" in got.result["notes"][-1]
    symbols = [line.split()[0] for line in (directory / "geometry.xyz").read_text().splitlines()[2:]]
    assert symbols == list("CCHH")


def _cut(name: str) -> Callable[[Path], object]:
    def cut(directory: Path) -> None:
        whole = (directory / name).read_bytes()
        (directory / name).write_bytes(whole[: len(whole) * 2 // 3])

    return cut


@pytest.mark.parametrize(
    "damage",
    [
        _cut("hessian"),
        _cut("xtbopt.log"),
        _cut("vibspectrum"),
        lambda directory: (directory / "xtbopt.log").unlink(),
        lambda directory: (directory / "hessian").unlink(),
        lambda directory: (directory / "vibspectrum").unlink(),
        lambda directory: (directory / "xtbopt.log").write_text("4\n energy: x\nC 0 0 0\n"),
    ],
)
def test_a_crash_before_its_results_are_whole_stays_a_crash(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    directory = linear(tmp_path)
    damage(directory)
    got = of_acetylene(directory, ABORTED, hessian=True)
    assert got.state == "failed"
    assert not (directory / "geometry.xyz").exists()


def test_no_other_end_than_a_crash_is_taken_for_a_success(tmp_path: Path) -> None:
    for number, ended in enumerate((Exit(1), Exit(None, signal.SIGKILL), Exit(None, signal.SIGABRT, "drain"))):
        directory = linear(tmp_path / str(number))
        assert of_acetylene(directory, ended, hessian=True).state != "succeeded"
    other = linear(tmp_path / "atoms")
    assert of_acetylene(other, ABORTED, atoms="CCHN", hessian=True).state == "failed"
    plain = linear(tmp_path / "plain")
    assert of_acetylene(plain, ABORTED).state == "failed"


@pytest.mark.parametrize("atoms", [list("CCOHHHHH"), list("CCHOHHHHH")], ids=["one fewer", "another order"])
def test_an_optimised_geometry_with_other_atoms_than_went_in_is_no_success(tmp_path: Path, atoms: list[str]) -> None:
    folder = FIXTURES / "xtb-runs/ethanol-opt"
    run = json.loads((folder / "run.json").read_text())
    directory, log = attempt(folder, run["files_after"], tmp_path)
    asked = step("xtb", "optimise", charge=0, multiplicity=1, alpb="chcl3", atoms=atoms)
    got = Xtb().interpret(asked, directory, log, exit_of(run))
    assert (got.state, got.code) == ("failed", "truncated_output")
    assert not (directory / "geometry.xyz").exists()


@pytest.mark.parametrize("name", ["xtbopt.xyz", "hessian", "vibspectrum", "charges"])
def test_a_result_file_cut_by_a_full_disk_is_no_success(tmp_path: Path, name: str) -> None:
    folder = FIXTURES / "xtb-runs/ethanol-ohess"
    run = json.loads((folder / "run.json").read_text())
    directory, log = attempt(folder, run["files_after"], tmp_path)
    whole = (directory / name).read_bytes()
    (directory / name).write_bytes(b"" if name == "charges" else whole[: len(whole) * 2 // 3])
    asked = step("xtb", "user", structure="ethanol.xyz", args=run["argv"][2:])
    got = Xtb().interpret(asked, directory, log, exit_of(run))
    assert (got.state, got.code) == ("failed", "scratch_full")
    assert got.evidence is not None
    assert got.evidence.file == name


def test_a_run_that_was_asked_to_stop_but_had_finished_is_a_success(tmp_path: Path) -> None:
    folder = FIXTURES / "xtb-runs/ethanol-sp"
    run = json.loads((folder / "run.json").read_text())
    directory, log = attempt(folder, run["files_after"], tmp_path)
    asked = step("xtb", "user", structure="ethanol.xyz", args=run["argv"][2:])
    assert Xtb().interpret(asked, directory, log, exit_of(run, stop_reason="drain")).state == "succeeded"


def test_a_drained_run_is_stopped_and_not_failed(tmp_path: Path) -> None:
    folder = FIXTURES / "xtb-runs/failures/sigterm"
    run = json.loads((folder / "run.json").read_text())
    directory, log = attempt(folder, run["files_after"], tmp_path)
    asked = step("xtb", "user", structure="butanol.xyz", args=run["argv"][2:])
    got = Xtb().interpret(asked, directory, log, exit_of(run, stop_reason="drain"))
    assert (got.state, got.code) == ("stopped", "drain")


REFUSED = {
    "input-empty-hang": "empty_file",
    "uhf-too-many-abort": "charge_multiplicity",
    "uhf-does-not-fit-exit-0": "charge_multiplicity",
    "charge-absurd-exit-0": "charge_multiplicity",
    "xyz-count-too-small-exit-0-v6.7.1": "atom_count_mismatch",
    "xyz-count-too-large": "atom_count_mismatch",
    "xyz-decimal-comma": "decimal_comma",
    "xyz-not-coordinates": "unreadable_structure",
    "atoms-identical": "atoms_overlap",
}


@pytest.mark.parametrize("name", REFUSED)
def test_input_that_would_hang_crash_or_lie_is_refused_before_the_start(name: str, tmp_path: Path) -> None:
    case = load(FIXTURES / "xtb" / name)
    source = case.folder / "input.xyz"
    context = Context(tmp_path, {"input.xyz": source}, Grant(1, 256, 64, 0), Installed("xtb", "/usr/bin/xtb", "6.5.1"))
    with pytest.raises(UsageError) as caught:
        Xtb().prepare(step("xtb", "user", structure="input.xyz", args=case.args), context)
    assert caught.value.code == REFUSED[name]
    assert caught.value.remedy


@pytest.mark.parametrize("folder", [f for f in RECORDED if f.name.startswith("ok-")], ids=lambda folder: folder.name)
def test_good_input_is_not_refused(folder: Path, tmp_path: Path) -> None:
    case = load(folder)
    context = Context(
        tmp_path, {"input.xyz": folder / "input.xyz"}, Grant(1, 256, 64, 0), Installed("xtb", "/usr/bin/xtb", "6.5.1")
    )
    command = Xtb().prepare(step("xtb", "user", structure="input.xyz", args=case.args), context)
    assert command.argv[:2] == ("/usr/bin/xtb", "input.xyz")


def test_a_crash_under_a_limited_stack_names_the_limit_and_no_remedy_of_threads(tmp_path: Path) -> None:
    log = tmp_path / "step.1.log"
    log.write_bytes((FIXTURES / "xtb/stack-64k-segfault/stdout.txt").read_bytes())
    asked = step("xtb", "user", structure="input.xyz", args=["--gfn", "2", "--opt"])
    for limit, code in ((8.0, "stack_limit"), (0.0625, "stack_limit"), (512.0, "openmp_stack"), (None, "openmp_stack")):
        ended = Exit(None, signal.SIGSEGV, stack_limit_mib=limit)
        outcome = Xtb().interpret(asked, tmp_path, log, ended)
        assert (outcome.code, outcome.failure_class) == (code, "operator")
        if code == "stack_limit":
            assert f"limited to {limit:g} MiB" in (outcome.summary or "")
            assert "ulimit -Hs unlimited" in (outcome.remedy or "")
    assert not any("stack_limit" in remedy.codes for remedy in Xtb().remedies("user"))
