"""The memory line of a user's deck: what each rank gets by it is what NWChem gives, is reserved, and is not changed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from qmrunner.engines.base import Context
from qmrunner.engines.nwchem import NWChem, check_deck, resources
from qmrunner.engines.nwchem.input import deck_rewrite, memory_line
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.model.jobs import Command, Evidence, Grant, Outcome
from qmrunner.model.packing import Capacity
from qmrunner.model.remedies import Adjusted, Failure, propose
from qmrunner.submission import job_kinds
from tests.engines import nwchem_echo
from tests.engines.support import step
from tests.engines.test_nwchem_decks import INSTALLED
from tests.sampling import share

MISSING = NWChem().locate({}, shutil.which).path is None and os.environ.get("CI") != "true"
REST = "geometry\n H 0 0 0\n H 0 0 0.74\nend\nbasis\n * library sto-3g\nend\ntask scf\n"
MIB = 2**17  # words of eight bytes
# What NWChem 7.0.2 prints for these lines: MiB for heap, stack and global arrays of each rank.
GIVES = {
    "memory total 1000 mb": (250, 250, 500),
    "memory 1000 mb": (250, 250, 500),
    "MEMORY Total 1 GB": (256, 256, 512),
    "memory total 2400 mb global 2000 mb": (200, 200, 2000),
    "memory stack 300 mb heap 50 mb global 300 mb noverify": (50, 300, 300),
    "memory stack 100 mb": (100, 100, 200),
    "memory heap 200 mb": (200, 100, 200),
    "memory global 500 mb": (100, 100, 500),
    "memory heap 200 mb stack 300 mb": (200, 300, 200),
    "memory total 300 mb global 100 mb heap 50 mb": (50, 150, 100),
    "memory total 300 mb heap 20 mb": (20, 93.333, 186.667),
    "memory total 300 mb stack 20 mb global 50 mb": (230, 20, 50),
    "memory total 300 mb heap 20 mb stack 40 mb": (20, 40, 240),
    "memory total 400 mb stack 100 mb heap 100 mb global 200 mb": (100, 100, 200),
    "memory total 300 mb heap 300 mb global 300 mb": (300, 0, 300),
    "memory verify": (100, 100, 200),
    "memory 900 mb hardfail": (225, 225, 450),
    "memory trace 300 mb": (75, 75, 150),
    "memory 300 mb 500 mb": (125, 125, 250),
    'memory "total" 300 mb': (75, 75, 150),
    "memory total .3e3 mb": (75, 75, 150),
    "memory total 1.d2 mb": (25, 25, 50),
    "memory total +300. mb": (75, 75, 150),
    "memory total 100 mw": (200, 200, 400),
    "memory 1 gw": (2048, 2048, 4096),
    "memory 131072000 double": (250, 250, 500),
    "memory 131072000 real": (250, 250, 500),
    "memory 131072000 integer": (250, 250, 500),
    "memory 131072000 byte": (250, 250, 500),
    "memory 1024000 kb": (250, 250, 500),
    "memory stack 5 mb heap 0 mb": (2.861, 2.861, 199.278),
    "memory total 300 mb \\\n global 250 mb": (25, 25, 250),
    "memory stack 50 mb ; memory total 1000 mb": (100, 50, 200),
    "set a:b 1 ; memory 700 mb\nmemory 200 mb\nmemory nonsense": (175, 175, 350),
    "echo # memory 1 gb\nmemory 200 mb": (50, 50, 100),
}
REFUSED = [
    "memory",
    "memory mb",
    "memory 1000",
    "memory total 1000",
    "memory total 8 stack 2 heap 2 global 4 mb",
    "memory 1000 megabytes",
    "memory 300mb",
    "memory 1_0 mb",
    "memory core 100 mb",
    "memory 400 mb nohardfail",
    "memory 300 mb verify hello",
    "memory total 0 mb",
    "memory 100 kb",
    "memory -100 mb",
    "memory total 1000 integer",
    "memory total 300 mb heap 300 mb",
    "memory total 500 mb stack 100 mb heap 100 mb global 200 mb",
]
_PRINTED = re.compile(rb"^ +(heap|stack|global) +=\s+(\d+) doubles", re.MULTILINE)


def nothing(_name: str) -> None:
    return None


def asked(line: str) -> memory_line.Asked:
    found = memory_line.asked(f"start w\n{line}\n{REST}", nothing)
    assert found is not None
    return found


@pytest.mark.parametrize("line", GIVES)
def test_arenas_are_those_that_nwchem_gives(line: str) -> None:
    found = asked(line)
    given = (found.heap / MIB, found.stack / MIB, found.shared / MIB)
    assert given == pytest.approx(GIVES[line], abs=1e-3)
    assert found.total_mib == pytest.approx(sum(GIVES[line]), abs=1)


@pytest.mark.parametrize("line", REFUSED)
def test_a_line_at_which_nwchem_stops_is_refused_with_the_line_and_an_example(line: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_deck(f"start w\n{line}\n{REST}")
    assert refused.value.code == "memory_spec_invalid"
    assert refused.value.evidence == f"line 2: {line}"
    assert "1000 mb" in str(refused.value.remedy)


@pytest.mark.parametrize("line", ["memory 1e30 gb", "memory 1e999999999 mb", f"memory {'9' * 500} mb"])
def test_amounts_that_no_machine_has_are_refused_at_once(line: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_deck(f"start w\n{line}\n{REST}")
    assert refused.value.code == "memory_spec_invalid"


def test_a_deck_without_a_line_asks_for_nothing() -> None:
    assert memory_line.asked(f"start w\n# memory 1 gb\n{REST}", nothing) is None


def test_the_line_of_an_included_file_counts_where_it_comes_first() -> None:
    text = f"start w\ninclude more.nw\nmemory 300 mb\n{REST}"
    found = memory_line.asked(text, {"more.nw": b"echo\nmemory 700 mb\n"}.get)
    assert found is not None
    assert (found.total_mib, found.file) == (700, "more.nw")


@pytest.mark.parametrize("line", share([*GIVES, *REFUSED], 3))
@pytest.mark.engine
@pytest.mark.skipif(MISSING, reason="nwchem is not installed")
def test_nwchem_itself_gives_the_same_or_stops(line: str, tmp_path: Path) -> None:
    (tmp_path / "t.nw").write_text(f"start w\n{line}\n")
    printed = {name.decode(): int(words) for name, words in _PRINTED.findall(nwchem_echo.run(tmp_path, "t.nw"))}
    if line in REFUSED:
        assert not printed
        return
    found = asked(line)
    mine = {"heap": found.heap, "stack": found.stack, "global": found.shared}
    # The allocator keeps some words of heap and stack for itself.
    assert {name: pytest.approx(words, abs=10) for name, words in mine.items()} == printed


def test_what_the_line_asks_for_is_reserved_for_each_rank(tmp_path: Path) -> None:
    (tmp_path / "in.nw").write_text(f"start w\nmemory total 2400 mb global 2000 mb\n{REST}")
    made = job_kinds.nwchem(str(tmp_path / "in.nw"))
    demand = NWChem().demand("deck", made.params)
    assert made.params["memory_mib_per_rank"] == 2400
    assert demand.memory_mib(1) == 2400 + resources.BASE_MIB_PER_RANK + 64
    assert demand.memory_mib(3) - demand.memory_mib(2) == 2400 + resources.BASE_MIB_PER_RANK


def test_a_deck_without_a_line_is_planned_by_the_rule(tmp_path: Path) -> None:
    (tmp_path / "in.nw").write_text(f"start w\n{REST}")
    made = job_kinds.nwchem(str(tmp_path / "in.nw"))
    assert "memory_mib_per_rank" not in made.params
    assert NWChem().demand("deck", made.params) == resources.demand_of_deck(None)


def prepared(folder: Path, line: str, cores: int, **params: object) -> Command:
    (folder / "in.nw").write_text(f"start w\n{line}\n{REST}")
    demand = resources.demand_of_deck(asked(line).total_mib)
    grant = Grant(cores, demand.memory_mib(cores), 500, 500)
    context = Context(folder, {"in.nw": folder / "in.nw"}, grant, INSTALLED)
    return NWChem().prepare(step("nwchem", "deck", deck="in.nw", **params), context)


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("line", GIVES)
def test_with_what_was_reserved_the_line_stays_as_it_is_on_every_rank(line: str, cores: int, tmp_path: Path) -> None:
    command = prepared(tmp_path, line, cores)
    assert command.argv[:3] == ("/usr/bin/mpirun", "-np", str(cores))
    assert command.files["in.nw"] == f"start w\n{line}\n{REST}"
    assert f"memory: {asked(line).total_mib} MiB for each of {cores} rank" in "\n".join(command.notes)


def test_an_amount_that_is_no_whole_number_is_written_so_that_every_version_reads_it(tmp_path: Path) -> None:
    command = prepared(tmp_path, "memory 1.5 gb noverify", 1)
    assert "\nmemory heap 384 mb stack 384 mb global 768 mb noverify\n" in command.files["in.nw"]
    assert asked("memory 1.5 gb").total_mib == 1536


def test_a_grant_that_cannot_carry_the_line_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(QmrunnerError) as refused:
        deck_rewrite.rewrite(f"start w\nmemory total 90 gb\n{REST}", 1, 1264)
    assert refused.value.code == "never_fits"
    assert "92160 MiB on each of 1 rank(s), granted are 1000" in refused.value.message


def adjusted(line: str, evidence: str, *, has_mib: int, cores: int = 1, tried: Sequence[str] = ()) -> Adjusted:
    demand = resources.demand_of_deck(asked(line).total_mib if line else None)
    failed = Outcome("failed", "memory_exhausted", failure_class="resource", evidence=Evidence(evidence))
    grant = Grant(cores, demand.memory_mib(cores), 500, 500)
    before = [{"remedy": name} for name in tried]
    named = replace(step("nwchem", "deck", deck="in.nw", remedies=before), demand=demand)
    found = propose(Failure(named, failed, grant, Capacity(1, cores, has_mib)), NWChem().remedies("deck"), "neutral")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("evidence", "line"),
    [
        ("createfile: failed ga_create", "memory heap 100 mb stack 100 mb global 1000 mb"),
        ("hf2mkr: MA_push_get failed", "memory heap 100 mb stack 700 mb global 400 mb"),
        ("grid: MA_alloc_get failed", "memory heap 700 mb stack 100 mb global 400 mb"),
        ("out of something", "memory heap 300 mb stack 300 mb global 600 mb"),
    ],
)
def test_more_memory_goes_to_the_arena_that_was_too_small(evidence: str, line: str, tmp_path: Path) -> None:
    # 600 and 200 for each rank become 1600, of which 1400 are the line's, had the worker as much.
    found = adjusted("memory total 600 mb global 400 mb", evidence, has_mib=64 + 1400)
    (tmp_path / "in.nw").write_text(f"start w\nmemory total 600 mb global 400 mb\n{REST}")
    grant = Grant(1, found.demand.memory_mib(1), 500, 500)
    context = Context(tmp_path, {"in.nw": tmp_path / "in.nw"}, grant, INSTALLED)
    command = NWChem().prepare(step("nwchem", "deck", **found.params), context)
    assert f"\n{line}\n" in command.files["in.nw"]
    assert f"replaced by `{line}`" in "\n".join(command.notes)


def test_an_arena_that_was_raised_before_stays_so() -> None:
    failed = Outcome("failed", "memory_exhausted", failure_class="resource", evidence=Evidence("MA_push_get failed"))
    named = replace(step("nwchem", "deck", memory_arena="global"), demand=resources.demand_of_deck(600))
    grant = Grant(1, named.demand.memory_mib(1), 500, 500)
    found = propose(Failure(named, failed, grant, Capacity(1, 1, 9000)), NWChem().remedies("deck"), "neutral")
    assert found is not None
    assert found.params["memory_arena"] == "stack global"
    assert (
        found.sentence
        == "1600 MiB for each core instead of 800, the difference for the stack and for the global arrays"
    )


def test_without_more_memory_half_the_ranks_get_that_of_all_in_the_arena_that_was_too_small() -> None:
    line = "memory total 600 mb global 400 mb"
    full = adjusted(line, "createfile: failed ga_create", has_mib=64 + 1600, cores=2, tried=["more-memory"] * 3)
    assert full.record["remedy"] == "fewer-ranks"
    assert full.params["memory_arena"] == "global"
    written = deck_rewrite.rewrite(f"start w\n{line}\n{REST}", 1, full.demand.memory_mib(1), full.params)
    assert "memory heap 100 mb stack 100 mb global 1200 mb" in written.text


def test_the_arena_of_a_deck_without_a_line_and_of_an_included_one_is_raised_too() -> None:
    text = f"start w\n{REST}"
    written = deck_rewrite.rewrite(text, 1, 64 + 1200, {"memory_arena": "stack"})
    assert written.text.endswith("memory heap 100 mb stack 700 mb global 200 mb\n")
    beside = {"more.nw": b"memory 400 mb\n"}.get
    included = deck_rewrite.rewrite(f"include more.nw\n{text}", 1, 64 + 1200, {"memory_arena": "heap"}, beside)
    assert included.beside == {"more.nw": "memory heap 700 mb stack 100 mb global 200 mb\n"}
    assert included.text == f"include more.nw\n{text}"
    assert included.notes[0].startswith("more.nw: deck: `memory 400 mb` replaced")
