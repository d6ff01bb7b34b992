"""Remedies as rules: in order, capped, on record, and undone when a person asks for another try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner import engines
from qmrunner.model import policy, remedies
from qmrunner.model.jobs import Demand, Evidence, Grant, Outcome, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.remedies import Adjusted, Allowed, Change, Failure, Remedy, propose
from tests.engines.support import step

CAPACITY = Capacity(slots=2, cores=8, memory_mib=8000)
TASKS = [
    ("nwchem", "optimise"), ("nwchem", "shielding"), ("nwchem", "deck"),
    ("xtb", "optimise"), ("xtb", "user"), ("crest", "conformers"), ("crest", "user"),
]  # fmt: skip
CODES = sorted({code for name, task in TASKS for one in engines.get(name).remedies(task) for code in one.codes})
PLANNED = {"atoms": ["C", "O", "H", "H"], "basis": "sto-3g", "args": [], "charge": 0}


def more(failure: Failure) -> Change:
    return Change("more of it", {"much": (failure.step.params.get("much") or 0) + 1})


MORE = Remedy("more", frozenset({"too_little"}), True, more, cap=2)
OTHER = Remedy("other", frozenset({"too_little"}), False, lambda failure: Change("another", {"kind": "other"}))


def failed(asked: Step, code: str = "too_little", text: str = "") -> Failure:
    cores = asked.demand.cores_max
    grant = Grant(cores, asked.demand.memory_mib(cores), 100, 100)
    return Failure(asked, Outcome("failed", code, failure_class="method", evidence=Evidence(text)), grant, CAPACITY)


def after(asked: Step, found: Adjusted) -> Step:
    return replace(asked, params=found.params, demand=found.demand, attempt=asked.attempt + 1)


def course(asked: Step, known: list[Remedy], allow: Allowed) -> list[str]:
    """The remedies a step gets that fails with the same code for ever."""
    names: list[str] = []
    while (found := propose(failed(asked), known, allow)) is not None:
        names.append(found.record["remedy"])
        asked = after(asked, found)
    return names


def test_remedies_are_tried_in_order_each_up_to_its_cap() -> None:
    assert course(step("xtb", "user"), [MORE, OTHER], "all") == ["more", "more", "other"]
    assert course(step("xtb", "user"), [MORE, OTHER], "neutral") == ["more", "more"]
    assert course(step("xtb", "user"), [MORE, OTHER], "off") == []


def test_no_step_is_changed_more_often_than_the_limit() -> None:
    endless = replace(MORE, cap=1000)
    assert len(course(step("xtb", "user"), [endless], "all")) == remedies.MOST_PER_STEP


def test_a_job_may_allow_more_than_the_setting_but_never_against_off() -> None:
    altering = {"allow_altering": True}
    assert [remedies.allowed(word, {}) for word in ("off", "neutral", "all")] == ["off", "neutral", "all"]
    assert [remedies.allowed(word, altering) for word in ("off", "neutral", "all")] == ["off", "all", "all"]


def test_a_record_states_what_was_changed_after_which_failure_of_which_attempt() -> None:
    found = propose(failed(replace(step("xtb", "user"), attempt=3)), [MORE], "neutral")
    assert found is not None
    (record,) = remedies.applied(found.params)
    assert (record["remedy"], record["code"], record["after"], record["neutral"]) == ("more", "too_little", 3, True)
    assert remedies.notes(found.params) == ("remedy: more after too_little of attempt 3: more of it",)


def test_an_altering_remedy_is_marked_in_its_note() -> None:
    found = propose(failed(step("xtb", "user")), [OTHER], "all")
    assert found is not None
    assert "can alter the answer" in remedies.notes(found.params)[0]


@pytest.mark.parametrize("name", ["more", "other"])
def test_undone_gives_back_the_step_as_it_was_planned(name: str) -> None:
    planned = step("xtb", "user", much=4)
    asked = planned
    for _ in range(2):
        found = propose(failed(asked), [MORE if name == "more" else OTHER], "all")
        asked = after(asked, found) if found else asked
    assert asked.params != planned.params
    assert remedies.undone(asked.params, asked.demand) == (planned.params, planned.demand)


@given(st.sampled_from(TASKS), st.sampled_from(CODES), st.sampled_from(["g_h11", "autoz", "sym_center_map", ""]))
def test_every_ladder_of_every_engine_ends_and_can_be_undone(task: tuple[str, str], code: str, text: str) -> None:
    engine = engines.get(task[0])
    planned = replace(step(*task, **PLANNED), demand=Demand(1, 8, 300, 200))
    asked, rungs = planned, 0
    while (found := propose(failed(asked, code, text), engine.remedies(task[1]), "all")) is not None:
        rungs += 1
        assert (found.params, found.demand) != (asked.params, asked.demand)
        if found.instead:
            break
        asked = after(asked, found)
    assert rungs <= remedies.MOST_PER_STEP
    assert remedies.undone(asked.params, asked.demand) == (planned.params, planned.demand)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_a_remedy_never_asks_for_more_than_its_worker_has(name: str, task: str) -> None:
    engine = engines.get(name)
    for code in CODES:
        asked = replace(step(name, task, **PLANNED), demand=Demand(1, 8, 300, 200))
        while (found := propose(failed(asked, code), engine.remedies(task), "all")) is not None and not found.instead:
            asked = after(asked, found)
            assert asked.demand.memory_mib(asked.demand.cores_min) <= CAPACITY.memory_mib
            assert asked.demand.cores_min <= CAPACITY.cores


def test_there_are_at_least_twelve_remedies_and_every_altering_one_is_marked() -> None:
    known = {one.name: one.neutral for name, task in TASKS for one in engines.get(name).remedies(task)}
    assert len(known) >= 12
    assert {name for name, neutral in known.items() if not neutral} == {
        "scf-smearing", "scc-temperature", "smaller-time-step", "rdkit-search",
    }  # fmt: skip


def judged(outcome: Outcome, adjusted: Adjusted | None, **more: Any) -> policy.Verdict:
    stop_reason = more.pop("stop_reason", None)
    limits = policy.Limits(more.pop("max_retries", 2), retry_delay_s=5.0, poison_deaths=3)
    return policy.decide(policy.Finished(outcome, stop_reason, adjusted=adjusted), policy.History(**more), limits)


def test_a_remedied_step_runs_again_at_once_and_spends_no_retry() -> None:
    failure = failed(step("xtb", "user"))
    found = propose(failure, [MORE], "neutral")
    got = judged(failure.outcome, found)
    assert (got.move, got.spends_retry, got.delay_s, got.adjusted) == ("requeue", False, 0.0, found)


def test_what_may_pass_by_itself_is_retried_as_it_is_before_anything_is_changed() -> None:
    failure = failed(step("xtb", "user"))
    found = propose(failure, [MORE], "neutral")
    transient = replace(failure.outcome, failure_class="transient")
    assert judged(transient, found).adjusted is None
    assert judged(transient, found, retries=2).adjusted is found


def test_a_step_that_another_one_replaces_stays_failed() -> None:
    instead = replace(OTHER, change=lambda failure: Change("somebody else", instead=True))
    failure = failed(step("xtb", "user"))
    found = propose(failure, [instead], "all")
    assert found is not None
    got = judged(failure.outcome, found)
    assert got.move == "fail"
    assert remedies.replaced(replace(failure.step, params=found.params))


def test_a_cancelled_or_drained_step_is_not_changed() -> None:
    failure = failed(step("xtb", "user"))
    found = propose(failure, [MORE], "neutral")
    assert judged(failure.outcome, found, cancel_requested=True).adjusted is None
    stopped = Outcome("stopped", "stopped", failure_class="transient")
    assert judged(stopped, found, stop_reason="drain").adjusted is None


def test_an_mpi_pr_build_on_one_core_is_given_two_where_its_worker_has_them() -> None:
    one = replace(step("nwchem", "optimise", **PLANNED), demand=Demand(1, 1, 300, 200))
    known = [remedy for remedy in engines.get("nwchem").remedies("optimise") if remedy.name == "two-ranks"]
    found = propose(failed(one, "slots_exhausted"), known, "neutral")
    assert found is not None
    assert (found.demand.cores_min, found.demand.cores_max) == (2, 2)
    small = replace(failed(one, "slots_exhausted"), capacity=Capacity(1, 1, 8000))
    assert propose(small, known, "neutral") is None


def test_unstable_dynamics_of_crest_get_a_smaller_time_step_before_the_search_is_given_up() -> None:
    asked = step("crest", "conformers", **PLANNED)
    known = engines.get("crest").remedies("conformers")
    first = propose(failed(asked, "md_unstable"), known, "all")
    assert first is not None
    assert first.params["options"] == ["--tstep", "1"]
    second = propose(failed(after(asked, first), "md_unstable"), known, "all")
    assert second is not None
    assert second.instead
    assert propose(failed(asked, "md_unstable"), known, "neutral") is None
