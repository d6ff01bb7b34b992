"""ASE, geomeTRIC and QCEngine over qmrunner's workers: the layers of `qmrunner.client` with real xTB."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qmrunner.client import Client, Job
from qmrunner.errors import QmrunnerError
from tests.support import Daemon, Home, missing

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")]
WATER = {"symbols": ["O", "H", "H"], "geometry": [0, 0, 0.22, 0, 1.5, -0.89, 0, -1.4, -0.8]}
# xTB 6.5.1, `--opt vtight`.
LOWEST_HARTREE = -5.0705444


class _Recorder:
    """The local client. `documents` are those it was asked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.documents: list[dict[str, Any]] = []

    def submit_qcschema(self, document: dict[str, Any], program: str | None = None) -> Job:
        self.documents.append(document)
        return self.client.submit_qcschema(document, program)


@pytest.fixture
def client(home: Home, daemon: Callable[..., Daemon]) -> Iterator[_Recorder]:
    daemon()
    with Client(home.path) as local:
        yield _Recorder(local)


def test_ase_optimises_water(client: _Recorder) -> None:
    ase = pytest.importorskip("ase")
    from ase.optimize import BFGS
    from ase.units import Hartree

    from qmrunner.client.ase import Qmrunner

    atoms = ase.Atoms("OH2", positions=[(0, 0, 0.12), (0, 0.8, -0.47), (0, -0.74, -0.42)])
    atoms.calc = Qmrunner(client, "GFN2-xTB")
    assert BFGS(atoms, logfile=None).run(fmax=0.005, steps=40)
    assert atoms.get_potential_energy() / Hartree == pytest.approx(LOWEST_HARTREE, abs=1e-6)
    assert atoms.get_distance(0, 1) == pytest.approx(0.9588, abs=2e-3)
    assert {document["driver"] for document in client.documents} == {"gradient"}
    calls = len(client.documents)
    atoms.get_forces()
    assert len(client.documents) == calls  # nothing is computed twice


def test_ase_shows_why_a_calculation_failed_and_refuses_a_crystal(client: _Recorder) -> None:
    ase = pytest.importorskip("ase")
    from ase.calculators.calculator import CalculationFailed

    from qmrunner.client.ase import Qmrunner

    atoms = ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.74)])
    atoms.calc = Qmrunner(client, "GFN2-xTB", charge=1, multiplicity=1)
    with pytest.raises(CalculationFailed, match="charge_multiplicity"):
        atoms.get_potential_energy()
    atoms.calc = Qmrunner(client, "GFN2-xTB", charge=1)
    assert atoms.get_potential_energy() < 0  # the lowest multiplicity, a doublet
    atoms.set_initial_magnetic_moments([1, 1])
    atoms.calc = Qmrunner(client, "GFN2-xTB")
    atoms.get_potential_energy()
    assert client.documents[-1]["molecule"]["molecular_multiplicity"] == 3
    atoms.pbc = True
    atoms.calc = Qmrunner(client, "GFN2-xTB")
    with pytest.raises(ValueError, match="molecules"):
        atoms.get_potential_energy()


def test_compute_takes_and_returns_what_qcengine_does(client: _Recorder) -> None:
    models = pytest.importorskip("qcelemental.models")
    from qmrunner.client.qcengine import compute

    given = {"molecule": WATER, "driver": "gradient", "model": {"method": "GFN2-xTB"}}
    answer = compute(models.v1.AtomicInput(**given), "xtb", client=client)
    assert isinstance(answer, models.v1.AtomicResult)
    assert answer.return_result.shape == (3, 3)
    as_dict = compute(given, return_dict=True, client=client)
    assert as_dict["return_result"] == pytest.approx(answer.return_result)
    second = compute(models.v1.AtomicInput(**given).convert_v(2), "xtb", client=client)
    assert isinstance(second, models.v2.AtomicResult)
    assert second.return_result.ravel() == pytest.approx(answer.return_result.ravel())
    wrong = compute(given | {"model": {"method": "GFN9"}}, client=client)
    assert isinstance(wrong, models.v1.FailedOperation)
    assert wrong.error.error_type == "qcschema_unsupported"
    # The server decides whether a program has a method, as it does for the command line.
    other = compute(given, "NWChem", client=client)
    assert (other.error.error_type, other.success) == ("qcschema_unsupported", False)
    with pytest.raises(RuntimeError, match="unknown_program"):
        compute(given, "psi4", raise_error=True, client=client)


@pytest.mark.slow
def test_geometric_optimises_through_qcengine(
    client: _Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # geomeTRIC writes there
    qcengine = pytest.importorskip("qcengine")
    models = pytest.importorskip("qcelemental.models.v1")
    if importlib.util.find_spec("geometric") is None:
        missing("geomeTRIC is not installed; `make setup` builds it from deploy/from-source.txt")
    from qmrunner.client.qcengine import register

    assert register(client) == register(client) == ("qmrunner-nwchem", "qmrunner-xtb")
    given = {
        "keywords": {"program": "qmrunner-xtb", "coordsys": "tric", "maxiter": 30},
        "input_specification": {"driver": "gradient", "model": {"method": "GFN2-xTB"}},
        "initial_molecule": WATER,
    }
    answer = qcengine.compute(models.OptimizationInput(**given), "geometric", raise_error=True)
    assert answer.energies[-1] == pytest.approx(LOWEST_HARTREE, abs=1e-5)
    assert len(answer.trajectory) == len(client.documents)


def test_an_error_without_evidence_becomes_a_failed_operation() -> None:
    from qmrunner.client.answer import ask

    class Broken:
        def submit_qcschema(self, document: dict[str, Any], program: str | None = None) -> Any:
            raise QmrunnerError("store_unavailable", "the store does not answer")

    answer = ask(Broken(), {"id": "7"})
    assert (answer["success"], answer["id"], answer["error"]["error_type"]) == (False, "7", "store_unavailable")
    assert answer["error"]["extras"] == {}
