"""Where a remedy gives up CREST's search, RDKit's takes its place, and the result has a note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qmrunner import engines
from qmrunner.model.jobs import Evidence, Grant, Job, Outcome, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.remedies import Failure, propose
from qmrunner.model.states import StepState
from qmrunner.workflows import workflow
from tests import molecules
from tests.workflows.test_ensemble import Play, job_of

SUMMARY = "Change in topology detected"


class GivenUp(Play):
    """CREST fails with a changed topology, and whatever is allowed happens to its step."""

    def __init__(self, job: Job, allow: bool) -> None:
        self.allow = allow
        super().__init__(job, failing=["conformers"])

    def finish(self, step: Step) -> None:
        if step.name == "conformers":
            outcome = Outcome("failed", "topology_changed", failure_class="method", evidence=Evidence(SUMMARY))
            failure = Failure(replace(step, attempt=1), outcome, Grant(2, 500, 100, 0), Capacity(2, 2, 4000))
            known = engines.get("crest").remedies("conformers")
            found = propose(failure, known, "all" if self.allow else "neutral")
            params = found.params if found else step.params
            changed = replace(step, params=params, code="topology_changed", summary=SUMMARY)
            self.steps = [changed if one.id == step.id else one for one in self.steps]
        super().finish(next(one for one in self.steps if one.id == step.id))


def prediction(kind: str = "nmr") -> Job:
    make = molecules.nmr if kind == "nmr" else molecules.conformers
    return job_of(make("CCO", conformers="crest"))


@pytest.mark.parametrize("kind", ["nmr", "conformers"])
def test_rdkit_searches_once_crest_is_given_up_and_the_rest_continues_from_there(kind: str) -> None:
    played = GivenUp(prediction(kind), allow=True).run()
    assert played.end.state == "succeeded"
    steps = {step.name: step for step in played.steps}
    assert steps["conformers"].state == StepState.FAILED
    assert (steps["conformers-rdkit"].engine, steps["conformers-rdkit"].task) == ("chemistry", "search")
    assert steps["preopt-c1"].inputs["geometry"] == "conformers-rdkit/c1.xyz"


def test_the_result_states_who_searched_and_why() -> None:
    job = prediction()
    played = GivenUp(job, allow=True).run()
    told = workflow(job.kind).result(job, played.steps)["provenance"]
    assert "topology_changed" in told["conformers"]["conformers_note"]
    (remedy,) = told["remedies"]
    assert (remedy["step"], remedy["remedy"], remedy["neutral"]) == ("conformers", "rdkit-search", False)


def test_without_permission_the_job_fails_as_crest_did() -> None:
    played = GivenUp(prediction(), allow=False).run()
    assert (played.end.state, played.end.code) == ("failed", "topology_changed")


def test_without_bond_orders_rdkit_cannot_search_and_the_job_fails_as_crest_did(tmp_path: Path) -> None:
    job = prediction()
    played = GivenUp(replace(job, params={**job.params, "smiles": None}), allow=True).run()
    assert (played.end.state, played.end.code) == ("failed", "topology_changed")
