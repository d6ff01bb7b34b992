"""Progress of xTB and CREST, read from recorded output."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.base import ProgressReader
from qmrunner.engines.crest.progress import CrestReader
from qmrunner.engines.xtb.progress import XtbReader
from qmrunner.model.jobs import Progress
from tests.engines.support import FIXTURES


def told(reader: ProgressReader, folder: Path) -> list[Progress]:
    lines = (folder / "stdout.txt").read_text().splitlines()
    return [progress for line in lines if (progress := reader.feed(line)) is not None]


def phases(seen: list[Progress]) -> list[str | None]:
    return [p.phase for at, p in enumerate(seen) if at == 0 or p.phase != seen[at - 1].phase]


def test_xtb_reports_each_cycle_with_its_energy_and_gradient() -> None:
    cycles = [p for p in told(XtbReader(), FIXTURES / "xtb-runs/ethanol-opt") if p.gradient is not None]
    assert [p.iteration for p in cycles] == [1, 2, 3, 4, 5, 6, 7]
    assert (cycles[0].energy_hartree, cycles[0].gradient) == (-11.3997482, 0.0173732)
    assert cycles[-1].energy_hartree == pytest.approx(-11.4006287, abs=1e-6)


def test_xtb_reports_the_phases_of_an_optimisation_with_frequencies() -> None:
    seen = phases(told(XtbReader(), FIXTURES / "xtb-runs/ethanol-ohess"))
    assert seen == ["single point", "optimisation", "final single point", "hessian", "properties"]


def test_xtb_reports_how_much_of_a_dynamics_run_is_done() -> None:
    last = told(XtbReader(), FIXTURES / "xtb-runs/failures/sigterm")[-1]
    assert (last.phase, last.text) == ("dynamics", "0.8 of 500 ps")
    assert last.fraction == pytest.approx(0.0016)


def test_crest_reports_its_phases_its_runs_and_its_own_estimate() -> None:
    seen = told(CrestReader(), FIXTURES / "crest/ethanol-mquick")
    assert phases(seen) == [
        "initial optimisation",
        "trial metadynamics",
        "metadynamics",
        "ensemble optimisation",
        "final optimisation",
        "sorting",
    ]
    assert "CREST expects 5 sec for 6 metadynamics runs" in [p.text for p in seen]
    runs = [p for p in seen if p.text and p.text.endswith("metadynamics runs") and p.fraction is not None]
    assert [p.text for p in runs] == [f"{n} of 6 metadynamics runs" for n in range(1, 7)]
    assert runs[-1].fraction == 1.0
    assert seen[-1].energy_hartree == -11.40063


@pytest.mark.parametrize("name", ["ethanol", "ethanol-legacy", "ethanol-v2.12", "butanol"])
def test_crest_counts_the_runs_of_every_cycle_and_never_beyond_their_number(name: str) -> None:
    seen = told(CrestReader(), FIXTURES / "crest" / name)
    fractions = [p.fraction for p in seen if p.fraction is not None]
    assert all(0.0 <= fraction <= 1.0 for fraction in fractions)
    runs = [p for p in seen if p.phase == "metadynamics" and p.fraction is not None]
    for cycle in {p.iteration for p in runs}:
        assert [p.fraction for p in runs if p.iteration == cycle][-1] == 1.0
    assert {p.iteration for p in runs} >= {1, 2}
    assert "structure crossing" in phases(seen)


@pytest.mark.parametrize(
    "line", ["", "|", "||||", "*MTD", " |>", "\x00\x00", "9" * 100_000, "Optimizing all x structures"]
)
def test_readers_take_any_line(line: str) -> None:
    for reader in (XtbReader(), CrestReader()):
        reader.feed(line)


def test_2_12_numbers_no_iteration_where_it_makes_only_one() -> None:
    """``--mquick`` of 2.12, made of the recorded ``--quick`` with the heading of `confscript2_main.f90`."""
    text = (FIXTURES / "crest/ethanol-v2.12/stdout.txt").read_text().replace("-T 1 --quick", "-T 1 --mquick")
    first = text.partition("MTD Iteration  2")[0].replace("MTD Iteration  1", "MTD Simulations ")
    reader = CrestReader()
    seen = [progress for line in first.splitlines() if (progress := reader.feed(line)) is not None]
    assert "metadynamics" in phases(seen)
    shares = [one.done for one in seen if one.phase == "metadynamics" and one.done is not None]
    assert shares == sorted(shares)
    assert shares[-1] > 0.5
    assert reader.feed("           MTD Simulations done         ") is None
