"""The list of jobs: every filter, alone and together, its pages and its counts, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from qmrunner.model.job_filter import JobFilter
from qmrunner.store import job_list
from qmrunner.store.tables import jobs
from tests.sampling import share
from tests.store.work import FAIL, NOW, Work

ETHANOL = {"smiles": "CCO", "inchikey": "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"}
ALANINE = {"smiles": "C[C@H](N)C(=O)O", "inchikey": "QNAYBMKLOCPYGJ-REOHCLBHSA-N"}


@pytest.fixture
def six(work: Work) -> dict[str, str]:
    """Six jobs, an hour apart, by a short name."""
    asked: dict[str, dict[str, Any]] = {
        "a": {"name": "Aspirin draft", "owner": "alice", "group": "batch 7", "params": ETHANOL},
        "b": {"name": "aspirin 100%", "owner": "bob", "group": "batch 7", "params": ALANINE},
        "c": {"name": "caffeine", "owner": "alice", "kind": "nmr"},
        "d": {"owner": "alice", "params": {"smiles": "C" * 1001, "inchikey": None}},
        "e": {"name": "d_e", "kind": "nwchem"},
        "f": {"name": "dxe", "owner": "bob", "params": ETHANOL},
    }
    made = {}
    for name, fields in asked.items():
        made[name] = work.job(**fields)
        work.now += 3600
    worker = work.worker()
    for _ in range(2):
        work.finish(work.claimed(worker), FAIL)
    work.ask("cancel", made["c"])
    return made


def listed(work: Work, six: dict[str, str], wanted: JobFilter, limit: int = 50, before: int | None = None) -> str:
    with work.store.read() as connection:
        found = job_list.page(connection, limit, wanted, before)
        assert job_list.ids(connection, limit, wanted) == [job.id for job in found] or before
    names = {job_id: name for name, job_id in six.items()}
    return "".join(names[job.id] for job in found)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    share(
        [
            (JobFilter(), "fedcba"),
            (JobFilter(states=("failed",)), "ba"),
            (JobFilter(states=("failed", "cancelled")), "cba"),
            (JobFilter(kinds=("nmr", "nwchem")), "ec"),
            (JobFilter(codes=("crash",)), "ba"),
            (JobFilter(codes=("crash", "cancelled"), owners=("alice",)), "ca"),
            (JobFilter(owners=("alice",)), "dca"),
            (JobFilter(owners=("bob", "alice"), states=("queued", "failed")), "fdba"),
            (JobFilter(groups=("batch 7",)), "ba"),
            (JobFilter(groups=("batch",)), ""),
            (JobFilter(words=("ASPIRIN",)), "ba"),
            (JobFilter(words=("aspirin", "draft")), "a"),
            (JobFilter(words=("%",)), "b"),
            (JobFilter(words=("d_e",)), "e"),
            (JobFilter(words=("'; DROP TABLE jobs; --",)), ""),
            (JobFilter(structure="CCO"), "fa"),
            (JobFilter(structure="CCO", owners=("bob",)), "f"),
            (JobFilter(structure="LFQSCWFLJHTTHZ-UHFFFAOYSA-N"), "fa"),
            (JobFilter(structure="QNAYBMKLOCPYGJ"), "b"),
            (JobFilter(structure="QNAYBMKLOCPYGJ-UHFFFAOYSA-N"), ""),
            (JobFilter(since=NOW + 3600 * 4), "fe"),
            (JobFilter(until=NOW + 3600), "a"),
            (JobFilter(since=NOW + 3600, until=NOW + 3600 * 3, owners=("alice",)), "c"),
            (JobFilter(since=NOW + 10**9), ""),
            (JobFilter(until=0.0), ""),
        ],
        3,
    ),
)
def test_a_filter_lists_the_jobs_that_meet_it_newest_first(
    work: Work, six: dict[str, str], wanted: JobFilter, expected: str
) -> None:
    assert listed(work, six, wanted) == expected
    with work.store.read() as connection:
        counted = job_list.counts(connection, wanted)
        everyone = job_list.counts(connection, replace(wanted, states=()))
    assert (counted["total"], counted["more"]) == (len(expected), False)
    assert counted["states"] == everyone["states"]


@pytest.mark.parametrize("wanted", [JobFilter(), JobFilter(owners=("alice", "bob")), JobFilter(words=("d",))])
def test_pages_have_every_job_once(work: Work, six: dict[str, str], wanted: JobFilter) -> None:
    whole, seen, before = listed(work, six, wanted), "", None
    while True:
        with work.store.read() as connection:
            found = job_list.numbers(connection, 2, wanted, before)
        part = listed(work, six, wanted, 2, before)
        assert len(part) == len(found)
        if not found:
            break
        seen, before = seen + part, found[-1]
    assert seen == whole


def test_counts_stop_at_their_bound(work: Work, six: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_list, "COUNTED_FILTERED", 2)
    monkeypatch.setattr(job_list, "COUNTED", 2)
    with work.store.read() as connection:
        assert job_list.counts(connection, JobFilter(owners=("alice",)))["more"]
        assert not job_list.counts(connection, JobFilter(groups=("batch 7",)))["more"]
        found = job_list.counts(connection, JobFilter(states=("failed",)))
    assert (found["total"], found["states"], found["more"]) == (2, {"failed": 2, "cancelled": 1, "queued": 2}, True)


def test_jobs_that_several_machines_submitted_out_of_order_are_found(work: Work) -> None:
    early, late = work.job(), work.job()
    with work.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == early).values(created_at=NOW + 60))
    with work.store.read() as connection:
        assert job_list.ids(connection, 5, JobFilter(since=NOW + 30)) == [early]
        assert job_list.ids(connection, 5, JobFilter(until=NOW + 30)) == [late]


def test_every_single_filter_reads_an_index_in_the_order_of_the_list(work: Work, six: dict[str, str]) -> None:
    """Without sorting and without looking at all jobs: what a list of a million needs."""
    if not work.store.is_sqlite:
        pytest.skip("the plan is read from SQLite")
    one: Sequence[JobFilter] = [
        JobFilter(states=("failed",)), JobFilter(kinds=("nmr",)), JobFilter(codes=("hung",)),
        JobFilter(owners=("a",)), JobFilter(groups=("g",)), JobFilter(structure="CCO"),
    ]  # fmt: skip
    for wanted in one:
        with work.store.read() as connection:
            (condition,) = job_list._conditions(connection, wanted)
            query = select(jobs.c.seq).where(condition).order_by(jobs.c.seq.desc()).limit(5)
            text = str(query.compile(work.store.engine, compile_kwargs={"literal_binds": True}))
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
        assert len(plan) == 1, plan
        assert plan[0].startswith("SEARCH jobs USING COVERING INDEX ix_jobs_"), plan
