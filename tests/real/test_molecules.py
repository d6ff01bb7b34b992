"""Molecules of every kind as far as the first step of NWChem's optimisation: plan, conformer, deck and its atoms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sampling import share
from tests.support import Daemon, Home, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.ranks, pytest.mark.slow, pytest.mark.timeout(2400)]
# All of them take some ten minutes.
SHARES = 8
MOLECULES = {
    "hydrogen": "[H][H]",
    "water": "O",
    "methane": "C",
    "acetylene": "C#C",
    "hydrogen-cyanide": "C#N",
    "diacetylene": "C#CC#C",
    "propyne": "CC#C",
    "allene": "C=C=C",
    "ammonium": "[NH4+]",
    "acetate": "CC(=O)[O-]",
    "tetramethylammonium": "C[N+](C)(C)C",
    "zwitterion": "[NH3+]CC(=O)[O-]",
    "cyclopropane": "C1CC1",
    "benzene": "c1ccccc1",
    "pyridine": "c1ccncc1",
    "imidazole": "c1c[nH]cn1",
    "furan": "c1ccoc1",
    "thiophene": "c1ccsc1",
    "norbornane": "C1CC2CCC1C2",
    "fluoromethane": "CF",
    "chloroform": "ClC(Cl)Cl",
    "dimethyl-sulfoxide": "CS(C)=O",
    "trimethylphosphine": "CP(C)C",
    "tetramethylsilane": "C[Si](C)(C)C",
    "nitromethane": "C[N+](=O)[O-]",
    "methyl-isocyanide": "C[N+]#[C-]",
    "methanol-d3": "[2H]C([2H])([2H])O",
    "formaldehyde-13c": "[13CH2]=O",
    "difluoroethene-e": "F/C=C/F",
    "difluoroethene-z": "F/C=C\\F",
    "alanine": "C[C@H](N)C(=O)O",
}
# Elsewhere in vacuum, where a zwitterion gives its proton away and fails with `topology_changed`, as it should.
SOLVENTS = {"zwitterion": "water"}
FINAL = ("succeeded", "failed", "cancelled", "held")
REFUSED = {
    "methyl-radical": ("[CH3]", "radical"),
    "dioxygen": ("[O][O]", "radical"),
    "salt": ("[Na+].[Cl-]", "several_fragments"),
    "mixture": ("CO.O", "several_fragments"),
    "wildcard": ("*C", "unknown_element"),
    "unclosed-ring": ("C1CC", "invalid_smiles"),
}


def first_step(home: Home, job: str) -> dict[str, Any] | None:
    """The job's first optimisation by NWChem once its log has a line of the first geometry. Fails if the job ended."""
    shown = home.job(job)
    assert shown["state"] not in {"failed", "held", "cancelled"}, shown
    for step in shown["steps"]:
        log = Path(step["log"] or "/nonexistent")
        if str(step["id"]).startswith("optimise-") and log.exists() and "\n@    0 " in log.read_text(errors="replace"):
            return dict(step)
    assert shown["state"] != "succeeded", "the job ended without an optimisation of NWChem"
    return None


def test_molecules_of_every_kind_reach_the_first_optimisation_step(home: Home, daemon: Callable[..., Daemon]) -> None:
    running = daemon()
    stuck: dict[str, str] = {}
    for name, smiles in share(MOLECULES.items(), SHARES):
        solvent = SOLVENTS.get(name, "vacuum")
        job = str(home.json("submit", "nmr", smiles, "--solvent", solvent)["id"])
        try:
            found = wait_for(lambda job=job: first_step(home, job), 120.0, f"the first step of {name}")
            assert found is not None
        except AssertionError as error:
            stuck[name] = str(error)[:500]
        home.run("cancel", job)
        wait_for(lambda job=job: home.job(job)["state"] in FINAL, 60.0, f"the end of {name}")
    assert not stuck
    assert running.stop() == 0


@pytest.mark.parametrize(("smiles", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_closed_shell_molecule_is_refused_at_once(home: Home, smiles: str, code: str) -> None:
    shown = home.run("submit", "nmr", smiles)
    assert shown.returncode == 2, shown
    assert code in shown.stdout + shown.stderr
