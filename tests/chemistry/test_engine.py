"""The chemistry engine: its command, its progress, and what it makes of an attempt's end."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qmrunner.chemistry.__main__ import END_MARKER
from qmrunner.chemistry.scaling import line_for
from qmrunner.engines.base import Context, Installed
from qmrunner.engines.chemistry import engine
from qmrunner.errors import QmrunnerError
from qmrunner.model.jobs import Demand, Exit, Grant, Step
from qmrunner.model.states import StepState

ENGINE = engine.Chemistry()
_KINDS = {"energy": "e.json", "geometry": "g.xyz"}
EMBED = {"smiles": "O", "atoms": ["O", "H", "H"], "candidates": 2, "keep": 1}


def step_of(task: str, params: dict[str, Any], inputs: dict[str, str] | None = None) -> Step:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return Step(
        id=1,
        job_id="j",
        name=task,
        stage=task,
        engine="chemistry",
        task=task,
        params=params,
        inputs=inputs or {},
        after=(),
        demand=Demand(),
        state=StepState.CLAIMED,
        attempt=1,
        retries=0,
        priority=0,
        not_before=None,
        worker_id=1,
        code=None,
        failure_class=None,
        evidence=None,
        remedy=None,
        summary=None,
        result={},
        created_at=now,
        started_at=None,
        finished_at=None,
    )


def installed() -> Installed:
    return ENGINE.locate({}, lambda name: None)


def attempt(step: Step, directory: Path, inputs: dict[str, Path] | None = None) -> tuple[Path, Exit]:
    """Prepare and run the step the way a guardian does."""
    context = Context(directory, inputs or {}, Grant(1, 256, 16, 0), installed())
    command = ENGINE.prepare(step, context)
    for name, text in command.files.items():
        (directory / name).write_text(text)
    for name, source in command.copies.items():
        (directory / name).write_bytes(source.read_bytes())
    log = directory / "engine.log"
    with log.open("wb") as stream:
        done = subprocess.run(command.argv, cwd=directory, stdout=stream, stderr=subprocess.STDOUT, check=False)
    return log, Exit(returncode=done.returncode)


def finished(directory: Path, result: Any, marker: str = END_MARKER) -> Path:
    (directory / "result.json").write_text(json.dumps(result))
    log = directory / "engine.log"
    log.write_text(f"progress 0.10 embedding\n{marker}\n")
    return log


def test_the_marker_is_the_one_the_program_prints() -> None:
    assert engine.END_MARKER == END_MARKER


def test_this_interpreter_and_its_packages_are_found() -> None:
    found = installed()
    assert found.path == sys.executable
    assert found.version == found.facts["rdkit"]
    assert found.version
    assert ENGINE.probe_argv(found) == ()
    assert ENGINE.read_probe(found, []) == found


def test_an_embed_step_runs_and_publishes_its_structures(tmp_path: Path) -> None:
    step = step_of("embed", EMBED)
    outcome = ENGINE.interpret(step, tmp_path, *attempt(step, tmp_path))
    assert (outcome.state, outcome.code) == ("succeeded", "ok")
    assert outcome.publish == ("geometry.xyz", "c1.xyz")
    assert outcome.promote == ()
    assert outcome.result["conformers"][0]["id"] == "c1"


def test_a_shifts_step_names_its_inputs_and_promotes_the_answer(tmp_path: Path) -> None:
    store = tmp_path / "job"
    store.mkdir()
    rows = [
        {"atom": n, "element": s, "isotropic_ppm": v} for n, s, v in ((1, "O", 320.0), (2, "H", 31.0), (3, "H", 31.2))
    ]
    (store / "a.json").write_text(json.dumps({"shieldings": rows, "energy_hartree": -76.4}))
    (store / "b.json").write_text(json.dumps({"energy_hartree": -76.4}))
    (store / "c.xyz").write_text("3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
    params = {
        "atoms": ["O", "H", "H"],
        "bonds": [[1, 2], [1, 3]],
        "solvent": "chloroform",
        "level": "draft",
        "temperature_k": 298.15,
        "conformers": ["c1"],
    }
    inputs = {"shielding-c1": "s/result.json", "optimise-c1": "o/result.json", "geometry-c1": "o/geometry.xyz"}
    step = step_of("shifts", params, inputs)
    work = tmp_path / "attempt"
    work.mkdir()
    given = {"shielding-c1": store / "a.json", "optimise-c1": store / "b.json", "geometry-c1": store / "c.xyz"}
    outcome = ENGINE.interpret(step, work, *attempt(step, work, given))
    assert outcome.state == "succeeded", outcome
    drawn = ("spectrum_1H.svg", "structure.svg", "nmredata.sdf")
    assert outcome.promote == ("shifts.csv", "geometry.xyz", "ensemble.xyz", "ensemble.json", *drawn)
    expected = line_for("1H", "chloroform", "draft").shift(31.1)
    assert [row["shift_ppm"] for row in outcome.result["shifts"]] == pytest.approx([expected, expected], abs=1e-4)


@pytest.mark.parametrize("source", ["files", "ensemble"])
def test_a_select_step_reads_conformers_or_an_ensemble(tmp_path: Path, source: str) -> None:
    params = {"atoms": ["O", "H", "H"], "bonds": [[1, 2], [1, 3]], "window_kcal": 6.0, "most": 2}
    params |= {"temperature_k": 298.15}
    shape = "O 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
    (tmp_path / "e.json").write_text(json.dumps({"energy_hartree": -5.07}))
    (tmp_path / "g.xyz").write_text(f"3\n-5.07\n{shape}")
    if source == "files":
        params |= {"conformers": ["c1", "c2"]}
        given = {f"{kind}-{one}": tmp_path / name for one in ("c1", "c2") for kind, name in _KINDS.items()}
    else:
        given = {"ensemble": tmp_path / "g.xyz"}
    step = step_of("select", params, {name: f"somewhere/{path.name}" for name, path in given.items()})
    work = tmp_path / "attempt"
    work.mkdir()
    outcome = ENGINE.interpret(step, work, *attempt(step, work, given))
    assert outcome.state == "succeeded", outcome
    assert outcome.result["kept"] == ["c1"]
    assert outcome.promote == ("ensemble.xyz", "geometry.xyz")


def test_a_failure_of_the_program_keeps_its_code_line_and_remedy(tmp_path: Path) -> None:
    step = step_of("embed", {**EMBED, "atoms": ["O"]})
    outcome = ENGINE.interpret(step, tmp_path, *attempt(step, tmp_path))
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", "atoms_changed", "permanent")
    assert outcome.evidence is not None
    assert outcome.evidence.line == 1
    assert outcome.remedy is not None


def test_the_command_cannot_be_fooled_by_a_module_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    step = step_of("embed", EMBED)
    assert ENGINE.interpret(step, tmp_path, *attempt(step, tmp_path)).state == "succeeded"


def test_a_missing_input_and_a_missing_package_are_reported_before_the_start(tmp_path: Path) -> None:
    step = step_of("embed", {"atoms": ["O"]}, {"structure": "input/a.mol"})
    with pytest.raises(QmrunnerError) as caught:
        ENGINE.prepare(step, Context(tmp_path, {}, Grant(1, 256, 16, 0), installed()))
    assert caught.value.code == "input_missing"
    nothing = Installed("chemistry", None)
    with pytest.raises(QmrunnerError) as caught:
        ENGINE.prepare(step, Context(tmp_path, {}, Grant(1, 256, 16, 0), nothing))
    assert caught.value.code == "engine_missing"


@pytest.mark.parametrize(
    ("result", "marker", "code"),
    [
        ({"x": 1.0}, "", "truncated_output"),
        ({"x": float("nan")}, END_MARKER, "bad_result"),
        ({"x": [[{"y": float("inf")}]]}, END_MARKER, "bad_result"),
        ([], END_MARKER, "bad_result"),
        ({"files": ["lost.xyz"]}, END_MARKER, "bad_result"),
    ],
)
def test_exit_0_alone_is_no_success(tmp_path: Path, result: Any, marker: str, code: str) -> None:
    outcome = ENGINE.interpret(step_of("embed", EMBED), tmp_path, finished(tmp_path, result, marker), Exit(0))
    assert (outcome.state, outcome.code) == ("failed", code)
    assert outcome.remedy


def test_a_missing_result_is_no_success(tmp_path: Path) -> None:
    log = finished(tmp_path, {})
    (tmp_path / "result.json").unlink()
    assert ENGINE.interpret(step_of("embed", EMBED), tmp_path, log, Exit(0)).code == "bad_result"


def test_a_good_result_with_a_bad_exit_is_no_success(tmp_path: Path) -> None:
    outcome = ENGINE.interpret(step_of("embed", EMBED), tmp_path, finished(tmp_path, {"x": 1}), Exit(1))
    assert outcome.state == "failed"


def test_a_crash_in_native_code_is_reported_by_its_signal(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("progress 0.10 embedding\n")
    outcome = ENGINE.interpret(step_of("embed", EMBED), tmp_path, log, Exit(None, signal=11))
    assert (outcome.state, outcome.code) == ("failed", "crashed")
    assert outcome.evidence is not None


@pytest.mark.parametrize("reason", ["drain", "cancel", "fenced", "abandoned"])
def test_a_stop_is_never_a_failure(tmp_path: Path, reason: str) -> None:
    log = tmp_path / "none.log"
    outcome = ENGINE.interpret(step_of("embed", EMBED), tmp_path, log, Exit(None, signal=15, stop_reason=reason))
    assert (outcome.state, outcome.code) == ("stopped", reason)


def test_a_task_that_stalled_is_distinguished_from_a_failure(tmp_path: Path) -> None:
    log = tmp_path / "none.log"
    outcome = ENGINE.interpret(step_of("embed", EMBED), tmp_path, log, Exit(None, signal=9, stop_reason="hung"))
    assert (outcome.state, outcome.code, outcome.failure_class) == ("stopped", "hung", "transient")


def test_a_task_that_was_complete_before_a_stop_counts_as_done(tmp_path: Path) -> None:
    log = finished(tmp_path, {"x": 1.0})
    outcome = ENGINE.interpret(step_of("embed", EMBED), tmp_path, log, Exit(0, stop_reason="drain"))
    assert outcome.state == "succeeded"
    log.write_text("")
    assert ENGINE.interpret(step_of("embed", EMBED), tmp_path, log, Exit(0, stop_reason="drain")).state == "stopped"


def test_the_registry_knows_the_engine() -> None:
    from qmrunner import engines

    assert engines.get("chemistry").name == "chemistry"


def test_progress_lines_are_read_and_others_are_not() -> None:
    reader = ENGINE.reader(step_of("embed", EMBED))
    found = reader.feed("progress 0.50 refining 10 structures\n")
    assert found is not None
    assert found.as_dict() == {"phase": "embed", "fraction": 0.5, "done": 0.5, "text": "refining 10 structures"}
    assert reader.feed("something else") is None


def test_a_task_needs_one_core_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    assert ENGINE.demand("embed", {}).cores_max == 1
    assert ENGINE.checkpoint(tmp_path) == ()
