"""Ensembles: the graph grows as outcomes become known, conformers may fail, and the order of events changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.model.jobs import Demand, Evidence, Job, Plan, Step, StepSpec, Submission
from qmrunner.model.states import JobState, StepState
from qmrunner.model.text import time_left
from qmrunner.workflows import progress, workflow
from qmrunner.workflows.ensemble import Member, lost_weight
from tests import molecules

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KCAL = 1 / 627.5094740631
OVER = (StepState.SUCCEEDED, StepState.FAILED)
WATER = "3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
# A verdict on a step: its state and, for a choice, which conformers are dropped.
Verdict = Callable[[Step], StepState]


def job_of(submitted: Submission) -> Job:
    params = json.loads(json.dumps(dict(submitted.params)))
    return Job(
        id="j1", seq=1, kind=submitted.kind, state=JobState.RUNNING, params=params, name=None, priority=0, key=None,
        code=None, summary=None, created_at=NOW, started_at=NOW, finished_at=None,
    )  # fmt: skip


def step_of(number: int, spec: StepSpec) -> Step:
    return Step(
        id=number, job_id="j1", name=spec.name, stage=spec.stage, engine=spec.engine, task=spec.task,
        params=json.loads(json.dumps(dict(spec.params))), inputs=spec.inputs, after=spec.after, demand=Demand(),
        state=StepState.WAITING, attempt=0, retries=0, priority=0, not_before=None, worker_id=None, code=None,
        failure_class=None, evidence=None, remedy=None, summary=None, result={}, created_at=NOW, started_at=None,
        finished_at=None,
    )  # fmt: skip


class Play:
    """A job played as the store would: plans applied, steps ended one at a time in an order that the caller chooses."""

    def __init__(self, job: Job, failing: Sequence[str] = (), count: int = 4, dropped: Sequence[str] = ()) -> None:
        self.job, self.failing, self.count, self.dropped = job, set(failing), count, set(dropped)
        self.steps: list[Step] = []
        self.end: Any = None
        self._apply()

    def _apply(self) -> None:
        plan = self.plan()
        self.steps += [step_of(len(self.steps) + at, spec) for at, spec in enumerate(plan.add, start=1)]
        again = self.plan()
        assert not again.add, "asked again, it adds a step twice"
        self.end = plan.end

    def plan(self) -> Plan:
        return workflow(self.job.kind).plan(self.job, self.steps)

    def ready(self) -> list[Step]:
        done = {step.name for step in self.steps if step.state == StepState.SUCCEEDED}
        return [step for step in self.steps if step.state == StepState.WAITING and done.issuperset(step.after)]

    def finish(self, step: Step) -> None:
        failed = step.name in self.failing
        more: dict[str, Any] = {"state": StepState.FAILED if failed else StepState.SUCCEEDED}
        if failed:
            more |= {"code": step.code or "scf_not_converged", "evidence": Evidence("Calculation failed to converge")}
        else:
            more["result"] = self.result_of(step)
        more |= {"started_at": NOW, "finished_at": NOW + timedelta(seconds=60)}
        self.steps = [replace(one, **more) if one.id == step.id else one for one in self.steps]
        if self._stage_continues(step.stage):
            assert self.plan() == Plan(), "the store does not ask for this plan"
        else:
            self._apply()

    def _stage_continues(self, stage: str) -> bool:
        """Whether the store leaves the plan to a later end."""
        open_steps, ready = [step for step in self.steps if step.state == StepState.WAITING], self.ready()
        return (
            workflow(self.job.kind).waits_for_all(self.job, stage)
            and len(open_steps) == len(ready)
            and any(step.stage == stage for step in ready)
        )

    def result_of(self, step: Step) -> dict[str, Any]:
        if step.task == "search":
            rows = [{"id": f"c{n}", "energy_kcal_mol": float(n)} for n in range(1, self.count + 1)]
            return {"conformers": rows, "dropped": [{"count": 3, "reason": "alike"}]}
        if step.engine == "crest":
            return {"conformers": [{"energy_hartree": -10 + n * KCAL} for n in range(self.count)]}
        if step.task == "select":
            ids = step.params.get("conformers") or [f"c{n}" for n in range(1, self.count + 1)]
            return {"conformers": [self._choice(step.name, one) for one in ids], "energy_hartree": -10.0}
        if step.task == "shifts":
            rows = [{"id": one["id"], "energy_hartree": energy_of(one["id"]), "weight": 0.5, "degeneracy": 1}
                    | {"state": "kept"} for one in step.params["conformers"]]  # fmt: skip
            return {"shifts": [], "conformers": rows, "energy_hartree": -10.0}
        return {} if step.name == "embed" else {"energy_hartree": energy_of(step.name.rsplit("-", 1)[-1])}

    def _choice(self, name: str, one: str) -> dict[str, Any]:
        out = f"{name}:{one}" in self.dropped
        return {
            "id": one,
            "energy_hartree": energy_of(one),
            "weight": None if out else 0.25,
            "degeneracy": 2,
            "state": "dropped" if out else "kept",
            "reason": "9.00 kcal/mol above the lowest" if out else None,
        }

    def run(self, choose: Callable[[Sequence[Step]], Step] = lambda ready: ready[0]) -> Play:
        while self.end is None:
            ready = self.ready()
            assert ready, f"stuck: {[(s.name, s.state) for s in self.steps]}"
            self.finish(choose(ready))
        return self

    def names(self, stage: str) -> list[str]:
        return sorted(step.name for step in self.steps if step.stage == stage)

    def rows(self) -> dict[str, Mapping[str, Any]]:
        result = workflow(self.job.kind).result(self.job, self.steps)
        json.dumps(result, allow_nan=False)
        return {row["id"]: row for row in result["conformers"]}


def energy_of(one: str) -> float:
    return -10 + int(one[1:]) * 0.3 * KCAL


@pytest.fixture(scope="module")
def propanol() -> Job:
    return job_of(molecules.nmr("CCCO", conformers="rdkit"))


def test_the_graph_grows_stage_by_stage(propanol: Job) -> None:
    play = Play(propanol)
    assert [step.name for step in play.steps] == ["conformers"]
    play.run()
    ids = ["c1", "c2", "c3", "c4"]
    for stage in ("preopt", "optimise", "shielding"):
        assert play.names(stage) == [f"{stage}-{one}" for one in ids]
    assert play.names("select") == ["select-dft", "select-xtb"]
    assert play.end.state == "succeeded"


def test_every_step_reads_what_an_earlier_one_leaves(propanol: Job) -> None:
    play = Play(propanol).run()
    before: set[str] = {"input"}
    for step in play.steps:
        assert {path.removeprefix("?").split("/")[0] for path in step.inputs.values()} <= before
        assert set(step.after) <= before
        before.add(step.name)


def test_a_conformer_without_a_hessian_is_optimised_all_the_same(propanol: Job) -> None:
    play = Play(propanol, failing=["hessian-c2"]).run()
    inputs = {step.name: step.inputs for step in play.steps if step.stage == "optimise"}
    assert inputs["optimise-c1"] == {"geometry": "hessian-c1/geometry.xyz", "hessian": "?hessian-c1/hessian"}
    assert inputs["optimise-c2"] == {"geometry": "select-xtb/c2.xyz"}
    assert play.end.state == "succeeded"
    assert play.rows()["c2"]["state"] == "kept"


def test_each_kept_conformer_has_exactly_one_shielding(propanol: Job) -> None:
    play = Play(propanol, dropped=["select-xtb:c4", "select-dft:c2"]).run()
    assert play.names("optimise") == ["optimise-c1", "optimise-c2", "optimise-c3"]
    assert play.names("shielding") == ["shielding-c1", "shielding-c3"]
    rows = play.rows()
    assert {one: row["state"] for one, row in rows.items()} == {
        "c1": "kept", "c3": "kept", "c2": "dropped", "c4": "dropped",
    }  # fmt: skip
    assert rows["c4"]["reason"] == "select-xtb: 9.00 kcal/mol above the lowest"
    assert rows["c2"]["reason"].startswith("select-dft: ")
    assert rows["c2"]["weight"] is None
    assert rows["c1"]["weight"] == 0.5


def test_the_shifts_get_how_many_conformers_each_one_stands_for(propanol: Job) -> None:
    (shifts,) = [step for step in Play(propanol).run().steps if step.name == "shifts"]
    assert shifts.params["conformers"][0] == {"id": "c1", "degeneracy": 2}
    assert shifts.params["source"] == {"smiles": "CCCO"}


@pytest.mark.parametrize("stage", ["preopt", "optimise", "shielding"])
def test_one_failed_conformer_is_dropped_on_record(stage: str) -> None:
    job = job_of(molecules.nmr("CCCO", conformers="rdkit", max_lost_weight=0.3))
    play = Play(job, failing=[f"{stage}-c4"]).run()
    assert play.end.state == "succeeded"
    row = play.rows()["c4"]
    assert row["state"] == "dropped"
    assert row["reason"] == f"{stage} failed: scf_not_converged: Calculation failed to converge"
    assert f"{stage}-c4" not in [name for step in play.steps if step.stage == "select" for name in step.after]


@pytest.mark.parametrize("stage", ["optimise", "shielding"])
def test_a_job_that_loses_too_much_weight_fails_and_states_how_much(propanol: Job, stage: str) -> None:
    play = Play(propanol, failing=[f"{stage}-c1"]).run()
    assert (play.end.state, play.end.code) == ("failed", "weight_lost")
    assert "c1 (scf_not_converged)" in play.end.summary
    assert "--max-lost-weight" in play.end.summary
    assert play.names("shifts") == []


@pytest.mark.parametrize("stage", ["optimise", "shielding"])
def test_when_all_conformers_fail_the_job_reports_it(propanol: Job, stage: str) -> None:
    play = Play(propanol, failing=[f"{stage}-c{n}" for n in range(1, 5)]).run()
    assert (play.end.state, play.end.code) == ("failed", "all_conformers_failed")
    assert "Calculation failed to converge" in play.end.summary


HELPERS = [f"{stage}-c{number}" for stage in ("preopt", "hessian") for number in range(1, 5)]


@settings(max_examples=60, deadline=None)
@given(failing=st.sets(st.sampled_from(HELPERS)), limit=st.sampled_from([0.0, 0.1, 0.9]))
def test_whatever_helpers_fail_the_job_continues_without_them_and_reports_it(failing: set[str], limit: float) -> None:
    job = job_of(molecules.nmr("CCCO", conformers="rdkit", max_conformers=4, max_lost_weight=limit))
    play = Play(job, failing=sorted(failing)).run()
    assert play.end.state == "succeeded"
    result = workflow("nmr").result(play.job, play.steps)
    for step in play.steps:
        if step.stage != "optimise":
            continue
        one = step.name.partition("-")[2]
        if f"preopt-{one}" in failing:
            assert step.inputs == {"geometry": f"conformers/{one}.xyz"}
            assert step.after == ("conformers",)
            assert any(note.startswith(f"preopt-{one} failed (scf_not_converged)") for note in result["notes"])
            assert play.rows()[one]["state"] == "kept"
        elif f"hessian-{one}" in failing:
            assert step.inputs == {"geometry": f"select-xtb/{one}.xyz"}
            assert any(note.startswith(f"hessian-{one} failed") for note in result["notes"])
    # Where the loss is within the limit the conformer is dropped on record, as in any other stage.
    names = {step.name for step in play.steps}
    lost = [one for one in ("c1", "c2", "c3", "c4") if f"optimise-{one}" not in names]
    assert all(play.rows()[one]["state"] == "dropped" for one in lost)
    assert len(lost) == 0 or limit > 0


def test_conformers_that_xtb_failed_on_are_no_more_than_may_be_kept() -> None:
    job = job_of(molecules.nmr("CCCO", conformers="rdkit", max_conformers=2))
    play = Play(job, failing=[f"preopt-c{number}" for number in range(1, 5)]).run()
    assert play.names("optimise") == ["optimise-c1", "optimise-c2"]
    assert play.end.state == "succeeded"


@pytest.mark.parametrize("lost", [1, 4])
def test_a_job_whose_answer_is_xtbs_does_not_continue_without_it(lost: int) -> None:
    play = Play(
        job_of(molecules.conformers("CCCO", conformers="rdkit")),
        failing=[f"preopt-c{number}" for number in range(1, lost + 1)],
    ).run()
    assert (play.end.state, play.end.code) == ("failed", "weight_lost" if lost == 1 else "all_conformers_failed")


def test_an_empty_set_of_conformers_ends_the_job_with_its_fix(propanol: Job) -> None:
    play = Play(propanol, count=0).run()
    assert (play.end.state, play.end.code) == ("failed", "no_conformers")
    assert "--conformers none" in play.end.summary


@pytest.mark.parametrize("name", ["conformers", "select-xtb", "select-dft", "shifts"])
def test_a_step_that_all_depend_on_fails_the_job(propanol: Job, name: str) -> None:
    play = Play(propanol, failing=[name]).run()
    assert (play.end.state, play.end.code) == ("failed", "scf_not_converged")


def test_a_cancelled_conformer_ends_the_job_as_cancelled(propanol: Job) -> None:
    play = Play(propanol)
    play.finish(play.ready()[0])
    play.steps = [replace(s, state=StepState.CANCELLED) if s.stage == "preopt" else s for s in play.steps]
    plan = play.plan()
    assert plan.end is not None
    assert plan.end.state == "cancelled"


def test_a_held_conformer_holds_the_next_stage(propanol: Job) -> None:
    play = Play(propanol)
    play.finish(play.ready()[0])
    for step in play.ready()[1:]:
        play.finish(step)
    play.steps = [replace(s, state=StepState.HELD) if s.name == "preopt-c1" else s for s in play.steps]
    assert play.plan() == Plan()


def test_a_retried_job_takes_back_a_conformer_that_now_succeeds(propanol: Job) -> None:
    play = Play(propanol, failing=["optimise-c1"]).run()
    assert play.end.code == "weight_lost"
    play.failing.clear()
    play.steps = [replace(s, state=StepState.WAITING) if s.name == "optimise-c1" else s for s in play.steps]
    play.end = None
    play.run()
    assert play.end.state == "succeeded"
    assert "shielding-c1" in play.names("shielding")


def test_a_conformer_that_succeeds_after_the_choice_is_dropped_on_record() -> None:
    job = job_of(molecules.nmr("CCCO", conformers="rdkit", max_lost_weight=0.5))
    play = Play(job, failing=["optimise-c4", "shifts"]).run()
    play.failing.clear()
    again = ("optimise-c4", "shifts")
    play.steps = [replace(s, state=StepState.WAITING) if s.name in again else s for s in play.steps]
    play.end = None
    play.run()
    assert play.rows()["c4"]["reason"] == "it was not ready when select-dft was made"


def test_a_conformer_job_stops_after_the_ensemble() -> None:
    play = Play(job_of(molecules.conformers("CCCO", conformers="rdkit")), dropped=["select-xtb:c3"]).run()
    assert play.end.state == "succeeded"
    assert play.names("optimise") == []
    assert {one: row["state"] for one, row in play.rows().items()}["c3"] == "dropped"
    assert workflow("conformers").progress(play.job, play.steps)["fraction"] == 1.0


def test_crest_searches_from_one_start_structure_and_its_ensemble_is_chosen_from() -> None:
    play = Play(job_of(molecules.nmr("CCCO", conformers="crest"))).run()
    assert [step.name for step in play.steps[:3]] == ["embed", "conformers", "select-xtb"]
    crest, chosen = play.steps[1:3]
    assert (crest.engine, crest.task, crest.inputs) == ("crest", "conformers", {"geometry": "embed/geometry.xyz"})
    assert (crest.params["alpb"], crest.params["quick"]) == ("chcl3", "quick")
    assert chosen.inputs == {"ensemble": "conformers/crest_conformers.xyz"}
    assert play.names("preopt") == []
    assert workflow("nmr").progress(play.job, play.steps)["fraction"] == 1.0
    assert play.end.state == "succeeded"
    assert play.rows()["c2"]["state"] == "kept"


def test_given_structures_are_the_candidates(tmp_path: Path) -> None:
    (tmp_path / "two.xyz").write_text(WATER + WATER)
    play = Play(job_of(molecules.nmr(str(tmp_path / "two.xyz"))))
    assert [step.name for step in play.steps] == ["preopt-c1", "preopt-c2"]
    assert play.steps[1].inputs == {"geometry": "input/structure-2.xyz"}
    assert play.run().end.state == "succeeded"
    assert play.job.params["max_conformers"] is None
    assert workflow("nmr").progress(play.job, play.steps)["fraction"] == 1.0


@settings(deadline=None)
@given(st.data())
def test_the_order_of_events_changes_nothing(data: st.DataObject) -> None:
    job = job_of(molecules.nmr("CCCO", conformers="rdkit", max_lost_weight=0.6))
    stages = [f"{stage}-c{n}" for stage in ("preopt", "optimise", "shielding") for n in range(1, 5)]
    failing = data.draw(st.lists(st.sampled_from(stages), max_size=3))
    dropped = data.draw(st.lists(st.sampled_from(["select-xtb:c2", "select-xtb:c4", "select-dft:c3"]), max_size=2))
    reference = Play(job, failing, dropped=dropped).run()
    other = Play(job, failing, dropped=dropped).run(lambda ready: data.draw(st.sampled_from(ready)))
    assert other.end == reference.end
    assert {s.name: (s.state, s.inputs) for s in other.steps} == {s.name: (s.state, s.inputs) for s in reference.steps}
    assert other.rows() == reference.rows()
    if other.end.state == "succeeded":
        assert all(row["state"] == "kept" or row["reason"] for row in other.rows().values())
        kept = [one for one, row in other.rows().items() if row["state"] == "kept"]
        assert {f"shielding-{one}" for one in kept} <= set(other.names("shielding"))


@given(st.lists(st.floats(-0.01, 0.01), min_size=1, max_size=10), st.data())
def test_lost_weight_is_a_share(energies: list[float], data: st.DataObject) -> None:
    members = [Member(f"c{n}", energy) for n, energy in enumerate(energies)]
    lost = data.draw(st.lists(st.sampled_from(members), unique=True))
    rest = [one for one in members if one not in lost]
    share = lost_weight(members, lost, 298.15)
    assert 0 <= share <= 1 + 1e-9
    assert share + lost_weight(members, rest, 298.15) == pytest.approx(1)


def test_an_unknown_energy_counts_as_the_lowest() -> None:
    members = [Member("c1", None), Member("c2", 0.0), Member("c3", 0.01)]
    assert lost_weight(members, members[:1], 298.15) == pytest.approx(0.5, abs=1e-4)


def test_progress_counts_estimates_and_never_falls(propanol: Job) -> None:
    play = Play(propanol)
    shown = []
    while play.end is None:
        shown.append(workflow("nmr").progress(propanol, play.steps))
        play.finish(play.ready()[0])
    fractions = [one["fraction"] for one in shown]
    assert fractions == sorted(fractions)
    assert shown[0]["text"] == "searching conformers"
    texts = [one["text"] for one in shown]
    assert "optimised 3/4, shielding not planned yet, about 1 minute left before shielding" in texts
    assert "optimised 4/4, shielding 1/4, about 3 minutes left" in texts
    assert "optimised 4/4, shielding 0/4" in texts


def test_steps_side_by_side_shorten_the_estimate(propanol: Job) -> None:
    play = Play(propanol)
    for _ in range(3):
        play.finish(play.ready()[0])
    running = [replace(s, state=StepState.RUNNING) if s.state == StepState.WAITING else s for s in play.steps]
    assert progress.seconds_left(play.steps, ["preopt"]) == 120
    assert progress.seconds_left(running, ["preopt"]) == 30
    assert progress.seconds_left(running, ["shielding"]) == 0
    assert time_left(720) == "about 12 minutes left"
    assert time_left(20) == "less than a minute left"
    assert time_left(7200) == "about 2.0 hours left"


class Reacting(Play):
    """Those that fail became another molecule."""

    def finish(self, step: Step) -> None:
        if step.name in self.failing:
            changed = replace(
                step, code="topology_changed", summary="it became another molecule: H8 moved from N1 to O5"
            )
            self.steps = [changed if one.id == step.id else one for one in self.steps]
        super().finish(next(one for one in self.steps if one.id == step.id))


@pytest.mark.parametrize("stage", ["preopt", "optimise"])
def test_conformers_that_became_another_molecule_are_dropped_however_much_they_weigh(propanol: Job, stage: str) -> None:
    lost = [f"{stage}-c1", f"{stage}-c2", f"{stage}-c3"]
    played = Reacting(propanol, failing=lost).run()
    assert played.end.state == "succeeded"
    result = workflow("nmr").result(propanol, played.steps)
    rows = {row["id"]: row for row in result["conformers"]}
    assert [rows[one]["state"] for one in ("c1", "c2", "c3", "c4")] == ["dropped"] * 3 + ["kept"]
    assert "H8 moved from N1 to O5" in rows["c1"]["reason"]
    assert sum("H8 moved from N1 to O5" in note for note in result["notes"]) == 3
    assert not any(step.name == "optimise-c1" for step in played.steps if stage == "preopt")


@pytest.mark.parametrize("stage", ["preopt", "optimise"])
def test_when_every_conformer_became_another_molecule_the_job_fails_as_such(propanol: Job, stage: str) -> None:
    played = Reacting(propanol, failing=[f"{stage}-c{number}" for number in range(1, 5)]).run()
    assert (played.end.state, played.end.code) == ("failed", "topology_changed")
    assert "H8 moved from N1 to O5" in played.end.summary
