"""How long a run still takes, forecast from recorded output replayed at the pace at which it really came."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qmrunner.engines.base import ProgressReader
from qmrunner.engines.crest.progress import CrestReader
from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.nwchem.progress import NWChemReader
from qmrunner.engines.xtb.progress import XtbReader
from qmrunner.model.eta import Ending, Forecast
from tests.engines.support import FIXTURES, step

Paced = Iterator[tuple[float, str]]


def nwchem(name: str) -> Paced:
    """Lines of a recorded run with the seconds at which they were in the file."""
    folder = FIXTURES / "nwchem" / name
    data, offset = (folder / "stdout.txt").read_bytes(), 0
    for row in (folder / "timing.tsv").read_text().splitlines()[1:]:
        at, size = row.split("\t")[:2]
        for line in data[offset : int(size)].decode(errors="replace").splitlines():
            yield float(at), line
        offset = int(size)


def crest(name: str) -> Paced:
    folder = FIXTURES / "crest" / name
    rows = [[int(value) for value in row.split()] for row in (folder / "timing.tsv").read_text().splitlines()[1:]]
    first_lines = [row[0] for row in rows]
    for number, line in enumerate((folder / "stdout.txt").read_text().splitlines(), 1):
        yield rows[bisect_right(first_lines, number) - 1][1] / 1000.0, line


def paced(name: str) -> Paced:
    """Of a run of NWChem 7.0.2 only the lines that matter here, each behind its seconds."""
    for row in (FIXTURES / "paced" / f"{name}.tsv").read_text().splitlines():
        at, line = row.split("\t", 1)
        yield float(at), line


def forecast(lines: list[tuple[float, str]], reader: ProgressReader, until: float) -> Ending | None:
    """The forecast shown at `until` seconds."""
    made, newest = Forecast(), None
    for at, line in lines:
        progress = reader.feed(line) if at <= until else None
        if progress is not None:
            newest = made.update(at, progress.done) or newest
    return newest


RUNS = [
    *((nwchem, name, NWChemReader) for name in ("ok-nmr-ethanol-two-atoms", "ok-nmr-methanol-cosmo-v7.2.3")),
    (paced, "acetonitrile-shielding", NWChemReader),
    *((crest, name, CrestReader) for name in ("butanol", "ethanol", "ethanol-legacy", "ethanol-v2.12")),
    *((crest, name, CrestReader) for name in ("ethanol-mquick", "ethanol-cation")),
]


@pytest.mark.parametrize(("read", "name", "reader"), RUNS, ids=[name for _, name, _ in RUNS])
def test_half_way_through_the_time_left_is_right_within_thirty_percent(
    read: Callable[[str], Paced], name: str, reader: Callable[[], ProgressReader]
) -> None:
    lines = list(read(name))
    whole = lines[-1][0]
    ending = forecast(lines, reader(), whole / 2)
    assert ending is not None
    told = (ending.low_at + ending.high_at) / 2 - whole / 2
    assert abs(told - whole / 2) <= 0.30 * whole / 2
    assert ending.low_at <= whole <= ending.high_at


def test_a_soft_optimisation_is_forecast_within_thirty_percent_of_the_whole() -> None:
    """Its hydroxyl group turned for six steps after the gradient had converged: nothing shows that beforehand."""
    lines = list(paced("ethanol-optimisation"))
    whole = lines[-1][0]
    for share in (0.25, 0.5, 0.75):
        ending = forecast(lines, NWChemReader(), share * whole)
        assert ending is not None
        assert abs((ending.low_at + ending.high_at) / 2 - whole) <= 0.30 * whole


def test_an_optimisation_that_gets_closer_has_more_done_with_each_step() -> None:
    reader = NWChemReader()
    shares = [p.done for _, line in nwchem("ok-opt-water-cosmo") if (p := reader.feed(line)) and p.gradient is not None]
    assert len(shares) == 5
    assert all(share is not None and 0.0 < share < 1.0 for share in shares)
    assert shares == sorted(shares, key=lambda share: share or 0.0)


def test_of_a_deck_of_unknown_tasks_nothing_is_forecast() -> None:
    reader = NWChem().reader(step("nwchem", "deck"))
    assert {p.done for _, line in nwchem("ok-three-tasks-water") if (p := reader.feed(line))} == {None}


@pytest.mark.parametrize("folder", sorted((FIXTURES / "nwchem").iterdir()), ids=lambda path: path.name)
def test_a_share_is_a_share_whatever_the_run_came_to(folder: Path) -> None:
    reader = NWChemReader()
    for line in (folder / "stdout.txt").read_text(errors="replace").splitlines():
        progress = reader.feed(line)
        assert progress is None or progress.done is None or 0.0 <= progress.done <= 1.0


@pytest.mark.parametrize("folder", sorted((FIXTURES / "crest").glob("*/stdout.txt")), ids=lambda path: path.parent.name)
def test_a_search_never_has_more_than_all_done(folder: Path) -> None:
    reader = CrestReader()
    shares = [p.done for line in folder.read_text().splitlines() if (p := reader.feed(line)) and p.done is not None]
    assert all(0.0 <= share <= 1.0 for share in shares)


STEP = "@    1     -75.58540580 -1.0D-03  0.00000  0.00000  0.00000  0.00000      0.1"


@pytest.mark.parametrize(
    "lines",
    [
        [" maximum gradient threshold         (gmax) =   0.000000", STEP],  # `gmax 1d-7` in the deck
        ["    1      6    0.00D+00       4.6", "    2      6    0.00D+00       4.6"],
        ["    1      6    8.95D-03       4.6", "    2      6    0.00D+00       4.6"],
    ],
)
def test_zeros_that_nwchem_prints_are_a_share_too(lines: list[str]) -> None:
    reader = NWChemReader()
    for line in ["   Calc. type is: shielding", "  iter   nsub   residual    time", *lines]:
        progress = reader.feed(line)
        assert progress is None or progress.done is None or 0.0 <= progress.done <= 1.0


@pytest.mark.parametrize("reader", [CrestReader, NWChemReader, XtbReader])
@pytest.mark.parametrize("number", ["0", "0.0", "-1", "99999999999999999999", "1.0E+99", "*****", "NaN", "\u00b2"])
def test_no_number_makes_a_reader_fail(reader: Callable[[], ProgressReader], number: str) -> None:
    folder = {"CrestReader": "crest/ethanol-legacy", "XtbReader": "xtb-runs/ethanol-ohess"}
    chosen = folder.get(reader.__name__, "nwchem/ok-nmr-methanol-cosmo-v7.2.3")  # type: ignore[attr-defined]
    one = reader()
    for line in (FIXTURES / chosen / "stdout.txt").read_text(errors="replace").splitlines():
        one.feed(re.sub(r"\d+(\.\d+)?", number, line))
