"""Each layer alone: what the check lets pass does no harm under the real NWChem, and no deck does harm that the kernel
holds, whatever it looks like."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qmrunner.attempt.prepare import as_run
from qmrunner.confinement import policy
from qmrunner.engines import get
from qmrunner.engines.base import Context
from qmrunner.engines.nwchem import findings
from qmrunner.errors import QmrunnerError
from qmrunner.guardian import process_tree
from qmrunner.guardian.confine import enforce
from qmrunner.host.probe import probe
from qmrunner.model.jobs import Grant
from qmrunner.settings import Settings
from tests.engines import canaries, nwchem_echo
from tests.engines.canaries import DECK, WAYS, Canary, Place
from tests.engines.support import step
from tests.sampling import share
from tests.surroundings import plain

# Under CI a missing engine is a failure: the tests then run, and say what is missing.
MISSING = get("nwchem").locate({}, shutil.which).path is None and os.environ.get("CI") != "true"
pytestmark = [pytest.mark.engine, pytest.mark.skipif(MISSING, reason="nwchem is not installed")]
# How many decks are looked at, from which seed on.
DECKS = int(os.environ.get("CANARY_DECKS", "400"))
# Each of these is a run of NWChem; most of those above are refused without one.
RUNS = int(os.environ.get("CANARY_RUNS", "60"))
SEED = int(os.environ.get("CANARY_SEED", "13"))


# One way of each kind with each run of the tests; the others with the slow ones.
QUICK = ("shell", "python that reads", "orbitals written", "included", "forged database")


def _ways(*, acts: bool) -> list[Any]:
    """All ways, or those that were seen to act."""
    chosen = [way for way in WAYS if WAYS[way].acts or not acts]
    slow = share((way for way in chosen if way not in QUICK), 3)
    return [way for way in chosen if way in QUICK] + [pytest.param(way, marks=pytest.mark.slow) for way in slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, one_word: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("canaries")
    outside = one_word / "outside"
    outside.mkdir()
    (folder / "mk.nw").write_text(canaries.FORGER.replace("{out}", str(outside)))
    nwchem_echo.run(folder, "mk.nw")
    with Place(outside, (folder / "w.db").read_bytes()) as made:
        yield made


def run(files: Mapping[str, bytes], work: Path, *, checked: bool, confined: bool = False) -> bytes | None:
    """What NWChem prints in `work` of the deck as the engine prepares it; None when it is refused.

    `checked`: the check looks at it as it will run. `confined`: the kernel holds it, as a guardian would have it.
    """
    given = work.with_name(f"{work.name}-in")
    for folder in (work, given):
        folder.mkdir()
    for name, data in files.items():
        (given / name).write_bytes(data)
    context = Context(work, {name: given / name for name in files}, Grant(1, 600, 500, 0), probe(get("nwchem"), {}))
    try:
        command = get("nwchem").prepare(step("nwchem", "deck", deck=DECK), context)
    except QmrunnerError:  # refused, or its memory line asks for more than is granted
        return None
    if checked and findings(DECK, as_run(context.inputs, command)):
        return None
    for name, source in command.copies.items():
        shutil.copy(source, work / name)
    for name, text in command.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    environment, hold = {**plain(), **command.env, process_tree.MARKER: str(work)}, None
    if confined:
        # The home is a folder beside: with it the canaries, too, lie outside.
        home = Settings(home=work.with_name("home"))
        held = policy.confine(command.reach, work, environment, home, policy.kernel())
        order = policy.as_order(held)
        assert order is not None
        environment |= held.variables
        hold = partial(enforce, order)
    path = context.installed.path
    assert path is not None
    try:
        ended = subprocess.run(
            command.argv if confined else [path, DECK],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=8,  # one that waits for an answer waits for ever
            check=False,
            preexec_fn=hold,
        )
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"") + (late.stderr or b"")
    finally:
        assert process_tree.end_marked(str(work))  # ranks outlive a launcher that was killed
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("way", _ways(acts=True))
def test_each_way_does_harm_where_nothing_holds(way: str, place: Place, tmp_path: Path) -> None:
    canary = canaries.plain(way, place)
    printed = run(canary.files, tmp_path / "work", checked=False)
    assert printed is not None
    assert place.harm(printed, tmp_path / "work", canary.files), printed.decode(errors="replace")[-3000:]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strict", [False, True])
def test_each_way_is_refused(way: str, strict: bool, place: Place) -> None:
    assert findings(DECK, canaries.plain(way, place).files, strict=strict)


@pytest.mark.parametrize("way", _ways(acts=False))
def test_each_way_is_held_by_the_kernel(way: str, place: Place, tmp_path: Path) -> None:
    canary = canaries.plain(way, place)
    printed = run(canary.files, tmp_path / "work", checked=False, confined=True)
    if printed is not None:
        assert b"NWChem" in printed, printed
        assert place.harm(printed, tmp_path / "work", canary.files) is None


@pytest.mark.slow
@pytest.mark.timeout(120 + 5 * RUNS)
def test_what_the_kernel_holds_does_no_harm(place: Place, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for number, canary in enumerate(canaries.decks(SEED + 1, RUNS, place)):
        work = tmp_path / str(number)
        printed = run(canary.files, work, checked=False, confined=True)
        counts["computes nothing" if printed is None else "ran"] += 1
        harm = printed and place.harm(printed, work, canary.files)
        assert not harm, (harm, canary)
        shutil.rmtree(work)
    print(dict(counts))
    assert counts["ran"] > RUNS / 2


@pytest.mark.slow
@pytest.mark.timeout(120 + DECKS)
def test_what_the_check_lets_pass_does_no_harm(place: Place, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for number, canary in enumerate(canaries.decks(SEED, DECKS, place)):
        counts[_looked_at(canary, place, tmp_path / str(number))] += 1
    print(dict(counts))
    assert counts["refused"] > DECKS / 2
    assert counts["ran"] > 0


def _looked_at(canary: Canary, place: Place, work: Path) -> str:
    refused = bool(findings(DECK, canary.files))
    assert bool(findings(DECK, canary.files, strict=True)) >= refused, canary
    if refused:
        return "refused"
    printed = run(canary.files, work, checked=True)
    if printed is None:
        return "computes nothing"
    harm = place.harm(printed, work, canary.files)
    assert harm is None, (harm, canary)
    return "ran"
