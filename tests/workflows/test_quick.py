"""Level quick: xTB's structures are the final ones, so nothing continues without xTB and no step of NWChem
optimises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.model.states import StepState
from qmrunner.reports import scratch
from qmrunner.submission.molecule import core_hours
from qmrunner.workflows import levels, workflow
from tests import molecules
from tests.workflows.test_ensemble import WATER, Play, job_of

SOURCES = {
    "one structure": {"conformers": "none"},
    "rdkit": {"conformers": "rdkit"},
    "crest": {"conformers": "crest", "crest_installed": True},
}


def quick(**more: Any) -> Any:
    return job_of(molecules.nmr("CCCO", level="quick", **more))


@pytest.mark.parametrize("source", SOURCES)
def test_nwchem_computes_shieldings_only(source: str) -> None:
    play = Play(quick(**SOURCES[source])).run()
    assert play.end.state == "succeeded"
    assert {step.task for step in play.steps if step.engine == "nwchem"} == {"shielding"}
    assert {step.stage for step in play.steps}.isdisjoint({"preopt", "hessian"})
    basis = {step.params["basis"] for step in play.steps if step.engine == "nwchem"}
    assert basis == {"6-31G*"}


@pytest.mark.parametrize("source", SOURCES)
def test_every_step_reads_what_an_earlier_one_leaves_and_needs_it(source: str) -> None:
    play = Play(quick(**SOURCES[source])).run()
    before: set[str] = {"input"}
    for step in play.steps:
        assert {path.split("/")[0] for path in step.inputs.values()} <= before
        assert set(step.after) <= before
        before.add(step.name)


def test_one_structure_is_a_chain_known_from_the_start() -> None:
    play = Play(quick())
    assert [step.name for step in play.steps] == ["embed", "optimise-c1", "shielding-c1", "shifts"]
    optimise, shielding, shifts = play.steps[1:]
    assert (optimise.engine, optimise.task, optimise.params["alpb"]) == ("xtb", "optimise", "chcl3")
    # A Hessian would crash xTB 6.5.1 on every linear molecule, and nothing uses it.
    assert "hessian" not in optimise.params
    assert shielding.inputs == {"geometry": "optimise-c1/geometry.xyz"}
    assert shifts.inputs == {
        "shielding-c1": "shielding-c1/result.json",
        "optimise-c1": "shielding-c1/result.json",
        "geometry-c1": "optimise-c1/geometry.xyz",
    }


def test_a_structure_that_was_given_is_optimised_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "w.xyz").write_text(WATER)
    play = Play(job_of(molecules.nmr(str(tmp_path / "w.xyz"), level="quick")))
    assert [step.name for step in play.steps] == ["optimise-c1", "shielding-c1", "shifts"]
    assert play.steps[0].inputs == {"geometry": "input/structure.xyz"}
    assert play.steps[0].after == ()


@pytest.mark.parametrize("name", ["embed", "optimise-c1", "shielding-c1", "shifts"])
def test_each_step_of_the_chain_is_needed(name: str) -> None:
    play = Play(quick(), failing=[name]).run()
    assert (play.end.state, play.end.code) == ("failed", "scf_not_converged")
    assert play.end.summary.startswith(f"{name} failed")


def test_an_ensemble_is_optimised_chosen_and_shielded() -> None:
    play = Play(quick(conformers="rdkit"), dropped=["select-xtb:c3"]).run()
    assert play.names("optimise") == ["optimise-c1", "optimise-c2", "optimise-c3", "optimise-c4"]
    assert play.names("select") == ["select-xtb"]
    assert play.names("shielding") == ["shielding-c1", "shielding-c2", "shielding-c4"]
    assert all(
        step.inputs == {"geometry": f"select-xtb/{step.name[10:]}.xyz"}
        for step in play.steps
        if step.stage == "shielding"
    )
    rows = play.rows()
    assert rows["c3"]["reason"] == "select-xtb: 9.00 kcal/mol above the lowest"
    assert [rows[one]["state"] for one in ("c1", "c2", "c4")] == ["kept"] * 3


def test_crest_has_optimised_already() -> None:
    play = Play(quick(**SOURCES["crest"])).run()
    assert play.names("optimise") == []
    assert play.names("shielding") == [f"shielding-c{number}" for number in range(1, 5)]


def test_given_structures_are_the_candidates(tmp_path: Path) -> None:
    (tmp_path / "two.xyz").write_text(WATER + WATER)
    play = Play(job_of(molecules.nmr(str(tmp_path / "two.xyz"), level="quick"))).run()
    assert play.names("optimise") == ["optimise-c1", "optimise-c2"]
    assert play.end.state == "succeeded"


@settings(max_examples=80, deadline=None)
@given(
    failing=st.sets(st.sampled_from([f"{stage}-c{n}" for stage in ("optimise", "shielding") for n in range(1, 5)])),
    limit=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_a_conformer_whose_step_failed_is_lost_and_the_job_with_too_much_weight(
    failing: set[str], limit: float
) -> None:
    play = Play(quick(conformers="rdkit", max_lost_weight=limit), failing=sorted(failing)).run()
    lost = {name.partition("-")[2] for name in failing if name in {step.name for step in play.steps}}
    if play.end.state == "succeeded":
        rows = play.rows()
        assert {one for one, row in rows.items() if row["state"] == "dropped"} == lost
        assert limit > 0 or not lost
    else:
        assert play.end.code in ("weight_lost", "all_conformers_failed")
        assert play.names("shifts") == []


@pytest.mark.parametrize("source", SOURCES)
def test_progress_never_falls_and_counts_what_there_is(source: str) -> None:
    play = Play(quick(**SOURCES[source]))
    told = [workflow("nmr").progress(play.job, play.steps)]
    while play.end is None:
        play.finish(play.ready()[0])
        told.append(workflow("nmr").progress(play.job, play.steps))
    fractions = [one["fraction"] for one in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert not any("not planned" in one["text"] for one in told if source == "crest")


def test_the_energy_of_an_unfinished_chain_is_nwchems_or_none() -> None:
    play = Play(quick())
    for _ in ("embed", "optimise"):
        play.finish(play.ready()[0])
    assert workflow("nmr").result(play.job, play.steps)["conformers"][0]["energy_hartree"] is None
    play.finish(play.ready()[0])
    assert workflow("nmr").result(play.job, play.steps)["conformers"][0]["energy_hartree"] is not None


def test_what_xtb_prints_about_its_run_is_a_note() -> None:
    play = Play(quick())
    play.result_of = lambda step: {"energy_hartree": -10.0, "notes": ["xtb crashed behind its results"]}  # type: ignore[method-assign]
    for _ in ("embed", "optimise"):
        play.finish(play.ready()[0])
    assert "optimise-c1: xtb crashed behind its results" in workflow("nmr").result(play.job, play.steps)["notes"]


def test_the_level_reaches_as_far_as_its_basis_and_costs_no_optimisation() -> None:
    low, draft = levels.find_level("quick"), levels.find_level("draft")
    assert low.xtb_structures
    assert not draft.xtb_structures
    assert low.last_element == draft.last_element == "Kr"
    symbols = tuple("C" * 20 + "H" * 42)
    assert 0.2 < core_hours(symbols, low) / core_hours(symbols, draft) < 0.4


def test_a_plan_of_the_machine_has_no_optimisation_by_nwchem() -> None:
    stages = scratch._stages(levels.find_level("quick"), ["C", "H", "H", "H", "H"], 3, 1)
    assert [stage.name for stage in stages] == ["search", "optimise", "shielding"]
    assert " xtb optimise " in stages[1].kind


def test_params_are_ready_for_json() -> None:
    for source in SOURCES.values():
        for step in Play(quick(**source)).run().steps:
            assert json.loads(json.dumps(dict(step.params))) == step.params
            assert step.state == StepState.SUCCEEDED
