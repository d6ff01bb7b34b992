"""Notes on tasks for which NWChem computed nothing although a setting changed: decks as tables, and the real NWChem.

Seen in pairs of bare runs of 7.0.2 (water, 6-31G; energies of the second task in hartree, and of the same deck with it
alone): `cosmo; off` -75.833608 and -75.817968, `relativistic; zora on; end` -75.817968 and -75.896781, an `ecp` block
-75.817968 and -71.765239, `set int:acc_std 1e-5` -75.817968 and -75.817995. After an empty `dft; end` the energies are
the same. A geometry, a basis, `bq`, a new cosmo block and the words of the dft block are noticed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.nwchem import kept_orbitals
from qmrunner.engines.nwchem.input import asked, reader
from qmrunner.engines.nwchem.output.tasks import Record
from tests.engines.support import step
from tests.engines.test_nwchem_real import DECK, MISSING, run

# (deck, numbers of the tasks that report converged orbitals, the settings named by the note of each noted task)
DECKS: list[tuple[str, dict[int, str], dict[int, list[str]]]] = [
    ("task dft\ncosmo; off; end\ntask dft", {2: "DFT"}, {}),  # there was no cavity to switch off
    ("cosmo; dielec 80; end\ntask dft\ncosmo; off; end\ntask dft", {2: "DFT"}, {2: ["cosmo"]}),
    ("cosmo; dielec 80; end\ntask dft\ncosmo; off; end\ndft; end\ntask dft", {}, {}),
    ("task dft\ncharge 1\ntask dft", {2: "DFT"}, {2: ["charge"]}),
    ("task dft\ncharge 0\ntask dft", {2: "DFT"}, {}),
    ("charge 1\ntask dft\ncharge 1\ntask dft freq", {2: "DFT"}, {}),
    ("relativistic\n zora on\nend\ntask dft\nRelativistic; ZORA on; end\ntask dft property", {2: "DFT"}, {}),
    ("task dft\nrelativistic; zora on; end\ntask dft property", {2: "DFT"}, {2: ["relativistic"]}),
    ("task dft\nset int:acc_std 1e-5\ntask dft", {2: "DFT"}, {2: ["set int:acc_std"]}),
    ("task dft\nset driver:trust 0.1\ntitle x\nprint low\ntask dft freq", {2: "DFT"}, {}),
    ("task dft\necp; O nelec 2; end\ncharge 1\ntask dft", {2: "DFT"}, {2: ["ecp", "charge"]}),
    ("task dft\ncharge 1\ntask dft\ntask dft", {2: "DFT", 3: "DFT"}, {2: ["charge"], 3: ["charge"]}),
    ("task scf\ncosmo; dielec 3; end\ntask dft\ntask scf", {3: "SCF"}, {3: ["cosmo"]}),
    ("task scf\ncosmo; dielec 3; end\ntask scf\ntask mp2", {3: "SCF"}, {}),
    ("task scf\ncharge 1\ntask esp\ntask scf", {3: "SCF"}, {3: ["charge"]}),
    ("task dft\ncharge 1\ntask dft optimize\ntask dft freq", {2: "DFT", 3: "DFT"}, {}),
    ("task dft\ncharge 1\ntask tddft", {2: "DFT"}, {2: ["charge"]}),
    ("restart\ntask dft", {1: "DFT"}, {}),
    ("restart\ncharge 1\ntask dft", {1: "DFT"}, {1: ["charge"]}),  # what the database holds is not known
    ("restart\ncharge 1\ntask scf property\necp; O nelec 2; end\ntask dft", {1: "SCF"}, {1: ["charge"]}),
    ("restart\ncharge 1\ntask dft optimize\ntask dft property", {1: "DFT", 2: "DFT"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("deck", "kept", "noted"), DECKS, ids=[row[0][:40] for row in DECKS])
def test_a_setting_that_nwchem_did_not_notice_is_noted(
    deck: str, kept: dict[int, str], noted: dict[int, list[str]]
) -> None:
    statements = list(reader.statements(deck.encode()))
    tasks, restarted = asked.of_deck(statements), asked.restarts(statements)
    records = [Record(number, task, 10 * number, 10 * number + 9, True) for number, task in enumerate(tasks, start=1)]
    lines = [(10 * number + 5, module) for number, module in kept.items()]
    found = kept_orbitals.notes(records, lines, restarted=restarted)
    wanted = [f"task {n}, `{records[n - 1].asked.title}`: " for n in noted]
    assert [note[: len(start)] for note, start in zip(found, wanted, strict=True)] == wanted
    for note, names in zip(found, noted.values(), strict=True):
        what = " and ".join(f"`{name}`" for name in names)
        assert (f"if {what} was another" if restarted else f"so {what} had no effect") in note


@pytest.mark.engine
@pytest.mark.timeout(450)
@pytest.mark.skipif(MISSING, reason="nwchem is not installed")
def test_the_real_nwchem_keeps_the_energy_and_the_remedy_of_the_note_makes_it_compute(tmp_path: Path) -> None:
    cosmo = DECK.replace("task scf", "cosmo; dielec 78; end\ntask scf\ncosmo; off; end\n")
    energies = []
    for name, text in {"kept": f"{cosmo}task scf\n", "mended": f"{cosmo}scf; end\ntask scf\n", "alone": DECK}.items():
        path = tmp_path / f"{name}.nw"
        path.write_text(text)
        outcome = run(step("nwchem", "deck", deck="input.nw"), {"input.nw": path}, tmp_path / name, cores=1)
        assert outcome.state == "succeeded", outcome
        assert bool(outcome.result["notes"]) == (name == "kept")
        energies.append(outcome.result["energy_hartree"])
    assert energies[0] < energies[2] - 5e-3
    assert energies[1] == pytest.approx(energies[2], abs=1e-7)


@pytest.mark.engine
@pytest.mark.timeout(450)
@pytest.mark.skipif(MISSING, reason="nwchem is not installed")
def test_the_real_nwchem_repeats_the_energy_of_a_restarted_database(tmp_path: Path) -> None:
    first = tmp_path / "first.nw"
    first.write_text(DECK.replace("task scf", "cosmo; dielec 78; end\ntask scf"))
    energy = run(step("nwchem", "deck", deck="input.nw"), {"input.nw": first}, tmp_path / "a", cores=1).result
    left = {name: tmp_path / "a" / name for name in ("wat.db", "wat.movecs")}
    for name, block in {"kept": "", "mended": "scf; end\n"}.items():
        path = tmp_path / f"{name}.nw"
        path.write_text(f"restart wat\ncosmo; off; end\ncharge 0\nset int:acc_std 1e-4\n{block}task scf\n")
        inputs = {"input.nw": path, **left}
        outcome = run(step("nwchem", "deck", deck="input.nw"), inputs, tmp_path / name, cores=1)
        assert outcome.state == "succeeded", outcome
        difference = outcome.result["energy_hartree"] - energy["energy_hartree"]
        assert (abs(difference) < 1e-6, bool(outcome.result["notes"])) == ((name == "kept"),) * 2
