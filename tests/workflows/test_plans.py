"""From a job and its steps to what happens next, the answer and the progress. Plain values throughout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from qmrunner.errors import UsageError
from qmrunner.model.jobs import KINDS, Demand, Evidence, Job, JobEnd, Plan, Step, StepSpec, Submission, may_start
from qmrunner.model.states import JobState, StepState
from qmrunner.submission import job_kinds
from qmrunner.workflows import WORKFLOWS, engines_needed, workflow
from tests import molecules

NOW = datetime(2026, 1, 2, tzinfo=UTC)
XYZ = b"3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
CHAIN = ["embed", "preopt-c1", "optimise-c1", "shielding-c1", "shifts"]

DIBORANE = """8
diborane: two hydrogens bridge
B 0.885 0 0
B -0.885 0 0
H 0 0 0.974
H 0 0 -0.974
H 1.46 1.04 0
H 1.46 -1.04 0
H -1.46 1.04 0
H -1.46 -1.04 0
"""


def job_of(submitted: Submission) -> Job:
    # As the store gives it back: through JSON.
    params = json.loads(json.dumps(dict(submitted.params)))
    return Job(
        id="j1",
        seq=1,
        kind=submitted.kind,
        state=JobState.RUNNING,
        params=params,
        name=None,
        priority=0,
        key=None,
        code=None,
        summary=None,
        created_at=NOW,
        started_at=NOW,
        finished_at=None,
    )


def step_of(spec: StepSpec, state: StepState = StepState.SUCCEEDED, **more: Any) -> Step:
    base = Step(
        id=1,
        job_id="j1",
        name=spec.name,
        stage=spec.stage,
        engine=spec.engine,
        task=spec.task,
        params=spec.params,
        inputs=spec.inputs,
        after=spec.after,
        demand=Demand(),
        state=state,
        attempt=1,
        retries=0,
        priority=0,
        not_before=None,
        worker_id=None,
        code=None,
        failure_class=None,
        evidence=None,
        remedy=None,
        summary=None,
        result={},
        created_at=NOW,
        started_at=None,
        finished_at=None,
    )
    return replace(base, **more)


def steps_of(job: Job, states: Mapping[str, StepState] | None = None) -> list[Step]:
    first = workflow(job.kind).plan(job, ())
    return [step_of(spec, (states or {}).get(spec.name, StepState.SUCCEEDED)) for spec in first.add]


def names(specs: Sequence[StepSpec]) -> list[str]:
    return [spec.name for spec in specs]


@pytest.fixture
def ethanol() -> Job:
    return job_of(molecules.nmr("CCO"))


@pytest.fixture
def water(tmp_path: Any) -> Job:
    (tmp_path / "w.xyz").write_bytes(XYZ)
    return job_of(molecules.nmr(str(tmp_path / "w.xyz"), solvent="vacuum", level="production"))


@pytest.fixture
def user_run(tmp_path: Any) -> Job:
    (tmp_path / "w.xyz").write_bytes(XYZ)
    (tmp_path / "x.inp").write_text("$end\n")
    return job_of(job_kinds.xtb(str(tmp_path / "w.xyz"), ["--opt"], [str(tmp_path / "x.inp")]))


def test_an_nmr_job_shows_all_its_steps_at_submission(ethanol: Job) -> None:
    plan = workflow("nmr").plan(ethanol, ())
    assert names(plan.add) == CHAIN
    assert [spec.after for spec in plan.add] == [(), ("embed",), ("?preopt-c1",), *((name,) for name in CHAIN[2:-1])]
    assert plan.end is None


def test_a_structure_in_three_dimensions_is_not_embedded(water: Job) -> None:
    plan = workflow("nmr").plan(water, ())
    assert names(plan.add) == CHAIN[1:]
    assert plan.add[0].after == ()
    assert plan.add[0].inputs == {"geometry": "input/structure.xyz"}


def test_every_step_reads_what_an_earlier_one_leaves(ethanol: Job) -> None:
    plan = workflow("nmr").plan(ethanol, ())
    done: set[str] = set()
    for spec in plan.add:
        assert {path.removeprefix("?").split("/")[0] for path in spec.inputs.values()} <= done | {"input"}
        assert {name.removeprefix("?") for name in spec.after} <= done
        done.add(spec.name)


def test_the_engines_get_charge_basis_and_solvent(ethanol: Job) -> None:
    by_name = {spec.name: spec for spec in workflow("nmr").plan(ethanol, ()).add}
    assert by_name["preopt-c1"].params == {
        "charge": 0,
        "multiplicity": 1,
        "alpb": "chcl3",
        "atoms": ["C", "C", "O", *"HHHHHH"],
        "bonds": [[1, 2], [1, 4], [1, 5], [1, 6], [2, 3], [2, 7], [2, 8], [3, 9]],
        "hessian": True,
    }
    optimise = by_name["optimise-c1"]
    assert (optimise.engine, optimise.task) == ("nwchem", "optimise")
    assert (optimise.params["functional"], optimise.params["basis"]) == ("b3lyp", "6-31G*")
    assert optimise.params["cosmo"] == "chcl3"
    assert optimise.inputs == {
        "geometry": "?preopt-c1/geometry.xyz",
        "start": "embed/c1.xyz",
        "hessian": "?preopt-c1/hessian",
    }
    assert by_name["embed"].params["smiles"] == "CCO"


def test_the_gas_phase_has_no_solvent_model_and_production_a_larger_basis(water: Job) -> None:
    by_name = {spec.name: spec for spec in workflow("nmr").plan(water, ()).add}
    assert by_name["preopt-c1"].params["alpb"] is None
    assert by_name["optimise-c1"].params["cosmo"] is None
    assert by_name["optimise-c1"].params["basis"] == "6-31G*"
    assert by_name["shielding-c1"].params["basis"] == "6-311+G(2d,p)"


def test_orbitals_are_handed_on_where_the_basis_stays_the_same(ethanol: Job, water: Job) -> None:
    draft = {spec.name: spec for spec in workflow("nmr").plan(ethanol, ()).add}["shielding-c1"]
    production = {spec.name: spec for spec in workflow("nmr").plan(water, ()).add}["shielding-c1"]
    assert draft.inputs["vectors"] == "?optimise-c1/calc.movecs"
    assert set(production.inputs) == {"geometry"}


def test_params_are_ready_for_json(ethanol: Job, water: Job, user_run: Job) -> None:
    for job in (ethanol, water, user_run):
        for spec in workflow(job.kind).plan(job, ()).add:
            assert json.loads(json.dumps(dict(spec.params))) == spec.params


@pytest.mark.parametrize("done", range(1, len(CHAIN)))
def test_asking_again_adds_nothing_while_steps_run(ethanol: Job, done: int) -> None:
    states = dict.fromkeys(CHAIN[done:], StepState.WAITING) | {CHAIN[done]: StepState.READY}
    assert workflow("nmr").plan(ethanol, steps_of(ethanol, states)) == Plan()


def test_a_step_that_is_missing_is_added_again(ethanol: Job) -> None:
    plan = workflow("nmr").plan(ethanol, steps_of(ethanol)[:-1])
    assert names(plan.add) == ["shifts"]
    assert plan.end is None


def test_an_nmr_job_succeeds_when_every_step_did(ethanol: Job) -> None:
    plan = workflow("nmr").plan(ethanol, steps_of(ethanol))
    assert plan.end is not None
    assert plan.end.state == "succeeded"
    assert not plan.add
    assert not plan.skip


def test_a_failed_step_ends_the_job_with_its_code_and_skips_the_rest(ethanol: Job) -> None:
    states = {"optimise-c1": StepState.FAILED, "shielding-c1": StepState.WAITING, "shifts": StepState.WAITING}
    steps = [
        replace(step, code="scf_not_converged", evidence=Evidence("Calculation failed to converge"))
        if step.state == StepState.FAILED
        else step
        for step in steps_of(ethanol, states)
    ]
    plan = workflow("nmr").plan(ethanol, steps)
    assert plan.end == JobEnd("failed", "scf_not_converged", "optimise-c1 failed: Calculation failed to converge")
    assert plan.skip == ("shielding-c1", "shifts")
    assert plan.add == ()


def test_a_failed_job_asked_again_answers_the_same_without_skipping_twice(ethanol: Job) -> None:
    states = dict.fromkeys(CHAIN[3:], StepState.SKIPPED) | {"optimise-c1": StepState.FAILED}
    plan = workflow("nmr").plan(ethanol, steps_of(ethanol, states))
    assert plan.end is not None
    assert plan.end.state == "failed"
    assert plan.skip == ()


def test_a_failed_pre_optimisation_is_done_without_and_noted(ethanol: Job, water: Job) -> None:
    for job, start in ((ethanol, "embed/c1.xyz"), (water, "input/structure.xyz")):
        steps = [
            replace(step, code="crashed") if step.state == StepState.FAILED else step
            for step in steps_of(job, {"preopt-c1": StepState.FAILED})
        ]
        there = {step.name: step for step in steps}
        assert there["optimise-c1"].inputs["start"] == start
        states = {name: step.state for name, step in there.items()}
        assert may_start(there["optimise-c1"].after, states)
        assert not may_start(there["optimise-c1"].after, states | {"preopt-c1": StepState.CANCELLED})
        plan = workflow("nmr").plan(job, steps)
        assert plan.end is not None
        assert plan.end.state == "succeeded"
        (note,) = workflow("nmr").result(job, steps)["notes"]
        assert note == "preopt-c1 failed (crashed): the DFT optimisation starts from the structure as it was"


@pytest.mark.parametrize("state", [StepState.HELD, StepState.READY, StepState.WAITING, StepState.RUNNING])
def test_a_helper_that_is_not_over_is_waited_for(ethanol: Job, state: StepState) -> None:
    steps = steps_of(ethanol, dict.fromkeys(CHAIN[2:], StepState.WAITING) | {"preopt-c1": state})
    assert workflow("nmr").plan(ethanol, steps) == Plan()
    assert not may_start(("?preopt-c1",), {step.name: step.state for step in steps})


def test_a_cancelled_step_ends_the_job_as_cancelled(ethanol: Job) -> None:
    plan = workflow("nmr").plan(ethanol, steps_of(ethanol, dict.fromkeys(CHAIN[1:], StepState.CANCELLED)))
    assert plan.end is not None
    assert (plan.end.state, plan.end.code) == ("cancelled", "cancelled")


def test_a_failure_counts_before_a_cancellation(ethanol: Job) -> None:
    plan = workflow("nmr").plan(ethanol, steps_of(ethanol, {"shifts": StepState.FAILED, "embed": StepState.CANCELLED}))
    assert plan.end is not None
    assert plan.end.state == "failed"


def test_a_held_step_ends_nothing_and_the_rest_keeps_waiting(ethanol: Job) -> None:
    states = {"optimise-c1": StepState.HELD, "shielding-c1": StepState.WAITING, "shifts": StepState.WAITING}
    assert workflow("nmr").plan(ethanol, steps_of(ethanol, states)) == Plan()


def test_a_job_whose_last_step_was_skipped_has_not_succeeded(ethanol: Job) -> None:
    assert workflow("nmr").plan(ethanol, steps_of(ethanol, {"shifts": StepState.SKIPPED})) == Plan()


def test_a_user_run_is_one_step_with_its_files(user_run: Job) -> None:
    (spec,) = workflow("xtb").plan(user_run, ()).add
    assert (spec.name, spec.engine, spec.task) == ("xtb", "xtb", "user")
    assert spec.params == {"structure": "w.xyz", "args": ["--opt"], "atoms": ["O", "H", "H"]}
    assert spec.inputs == {"w.xyz": "input/w.xyz", "x.inp": "input/x.inp"}


@pytest.mark.parametrize(
    ("state", "end"), [("succeeded", "succeeded"), ("failed", "failed"), ("cancelled", "cancelled")]
)
def test_a_user_run_ends_as_its_step_does(user_run: Job, state: str, end: str) -> None:
    plan = workflow("xtb").plan(user_run, steps_of(user_run, {"xtb": StepState(state)}))
    assert plan.end is not None
    assert plan.end.state == end


@pytest.mark.parametrize("state", [StepState(word) for word in ("waiting", "ready", "claimed", "running", "held")])
def test_a_user_run_under_way_needs_nothing(user_run: Job, state: StepState) -> None:
    assert workflow("xtb").plan(user_run, steps_of(user_run, {"xtb": state})) == Plan()


def test_progress_counts_what_is_done_and_never_falls(ethanol: Job) -> None:
    fractions = []
    for done in range(len(CHAIN) + 1):
        steps = steps_of(ethanol, dict.fromkeys(CHAIN[done:], StepState.WAITING))
        fractions.append(workflow("nmr").progress(ethanol, steps)["fraction"])
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_progress_names_the_running_step(ethanol: Job) -> None:
    states = {"shielding-c1": StepState.RUNNING, "shifts": StepState.WAITING}
    text = workflow("nmr").progress(ethanol, steps_of(ethanol, states))["text"]
    assert text == "optimised 1/1, shielding 0/1, running shielding-c1"


def test_the_result_has_shifts_conformers_files_and_provenance(ethanol: Job) -> None:
    shift = {"nucleus": "1H", "atom": 5, "shift_ppm": 1.2, "shielding_ppm": 30.9}
    said = {
        "energy_hartree": -155.0,
        "shifts": [shift],
        "conformers": [{"id": "c1", "energy_hartree": -155.0, "weight": 1.0, "state": "kept"}],
        "files": ["shifts.json", "shifts.csv", "geometry.xyz", "spectrum_1H.svg"],
        "provenance": {"scaling": {"1H": {"slope": -1.0}}},
    }
    steps = [replace(step, result=said) if step.name == "shifts" else step for step in steps_of(ethanol)]
    result = workflow("nmr").result(ethanol, steps)
    assert (result["id"], result["kind"], result["energy_hartree"]) == ("j1", "nmr", -155.0)
    assert result["shifts"] == [shift]
    assert result["conformers"][0]["weight"] == 1.0
    assert result["files"] == ["shifts.csv", "geometry.xyz", "spectrum_1H.svg"]
    assert result["provenance"]["input"]["smiles"] == "CCO"
    assert result["provenance"]["scaling"]["1H"]["slope"] == -1.0
    assert result["provenance"]["steps"]["optimise-c1"]["params"]["basis"] == "6-31G*"
    json.dumps(result, allow_nan=False)


def test_an_unfinished_job_has_no_shifts_and_no_weight(ethanol: Job) -> None:
    states = {"optimise-c1": StepState.FAILED, "shielding-c1": StepState.SKIPPED, "shifts": StepState.SKIPPED}
    result = workflow("nmr").result(ethanol, steps_of(ethanol, states))
    assert result["shifts"] == []
    assert result["energy_hartree"] is None
    assert result["conformers"] == [{"id": "c1", "energy_hartree": None, "weight": None, "state": "failed"}]


def test_the_result_of_a_user_run_is_that_of_its_step(user_run: Job) -> None:
    (step,) = steps_of(user_run)
    result = workflow("xtb").result(user_run, [replace(step, result={"energy_hartree": -5.07})])
    assert result["energy_hartree"] == -5.07
    assert workflow("xtb").progress(user_run, [step])["fraction"] == 1.0
    assert workflow("xtb").progress(user_run, [])["fraction"] == 0.0


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        workflow("nwchm")
    assert caught.value.code == "unknown_kind"
    assert caught.value.remedy is not None
    assert "nwchem" in caught.value.remedy


def test_every_kind_of_job_has_a_workflow() -> None:
    assert set(WORKFLOWS) == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "search", "engines"),
    [
        ("nmr", "none", {"chemistry", "xtb", "nwchem"}),
        ("nmr", "rdkit", {"chemistry", "xtb", "nwchem"}),
        ("nmr", "crest", {"chemistry", "crest", "nwchem"}),
        ("conformers", "rdkit", {"chemistry", "xtb"}),
        ("conformers", "crest", {"chemistry", "crest"}),
        ("xtb", None, {"xtb"}),
    ],
)
def test_what_a_job_will_need_is_known_before_it_is_planned(kind: str, search: str, engines: set[str]) -> None:
    assert set(engines_needed(kind, {"conformers": search})) == engines


def test_a_pre_optimisation_that_made_another_molecule_is_not_done_without(ethanol: Job, water: Job) -> None:
    for job in (ethanol, water):
        steps = [
            replace(step, code="topology_changed") if step.name == "preopt-c1" else step
            for step in steps_of(job, {"preopt-c1": StepState.FAILED, "optimise-c1": StepState.READY})
        ]
        plan = workflow("nmr").plan(job, steps)
        assert plan.end is not None
        assert (plan.end.state, plan.end.code) == ("failed", "topology_changed")
        assert "optimise-c1" in plan.skip


def test_steps_that_move_atoms_know_the_bonds_and_what_is_accepted(tmp_path: Any) -> None:
    accepting = job_of(molecules.nmr("CCO", allow_topology_change=True))
    (tmp_path / "b2h6.xyz").write_text(DIBORANE)
    bridged = job_of(molecules.nmr(str(tmp_path / "b2h6.xyz")))
    for job, key in ((accepting, "allow_topology_change"), (bridged, "unclear_bonds")):
        for spec in workflow("nmr").plan(job, ()).add:
            if spec.task in ("optimise", "shifts"):
                assert spec.params["bonds"] == job.params["bonds"]
                assert spec.params[key]
    plain = job_of(molecules.nmr("CCO"))
    assert not {"allow_topology_change", "unclear_bonds"}.intersection(plain.params)
