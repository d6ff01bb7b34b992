"""What `qmrunner result` prints, on a terminal of 80 columns and for programs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from qmrunner.chemistry.scaling import line_for
from qmrunner.cli.render import show_result

REASON = "select-dft: 3.31 kcal/mol above the lowest, outside the window of 3, said at some length"


def shown(result: dict[str, Any], *, terminal: bool) -> list[str]:
    out = Console(file=io.StringIO(), width=80, force_terminal=terminal, no_color=True, highlight=False, soft_wrap=True)
    show_result(out, result)
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def conformer(name: str, above: float | None, weight: float | None, **more: Any) -> dict[str, Any]:
    energy = None if above is None else -154.9 + above / 627.5094740631
    row = {"id": name, "energy_hartree": energy, "weight": weight, "degeneracy": 1, "state": "kept", "reason": None}
    return row | ({} if above is None else {"relative_kcal_mol": above}) | more


def result(**more: Any) -> dict[str, Any]:
    base = {"id": "abc", "kind": "nmr", "level": "draft", "solvent": "chloroform", "energy_hartree": -154.9}
    shift = {"nucleus": "1H", "atom": 4, "symbol": "H", "shift_ppm": 1.2344, "shielding_ppm": 31.05}
    return base | {
        "folder": "/data/jobs/abc",
        "files": ["result.json", "shifts.csv", "shifts/result.json"],
        "shifts": [shift | {"uncertainty_ppm": 0.101, "equivalent_atoms": [4, 5, 6]}],
        "conformers": [
            conformer("c1", 0.4, 0.203),
            conformer("c2", 0.0, 0.797, degeneracy=2),
            conformer("c3", 3.31, None, state="dropped", reason=REASON),
            conformer("c4", None, None, state="dropped", reason="preopt failed: scf_not_converged: no"),
        ],
        "provenance": {
            "scaling": {nucleus: line_for(nucleus, "chloroform", "draft").as_dict() for nucleus in ("1H", "13C")},
            "temperature_k": 298.15,
            "conformers": {"conformers_note": None, "notes": []},
        },
        **more,
    }


def row_of(lines: list[str], name: str) -> list[str]:
    return next(line.split() for line in lines if line.split()[:1] == [name])


def test_each_conformer_has_relative_energy_weight_and_fate_the_lowest_first() -> None:
    lines = shown(result(), terminal=False)
    assert "conformers, weights at 298.15 K" in "\n".join(lines)
    order = [line.split()[0] for line in lines if line[:1] == "c" and line[1:2].isdigit()]
    assert order[:2] == ["c2", "c1"]
    assert sorted(order[2:]) == ["c3", "c4"]
    assert row_of(lines, "c2") == ["c2", "0.00", "0.797", "2", "kept"]
    assert row_of(lines, "c1") == ["c1", "0.40", "0.203", "1", "kept"]
    assert row_of(lines, "c4")[:4] == ["c4", "-", "-", "1"]


def test_piped_a_conformer_is_one_line_and_on_a_terminal_nothing_is_wider_than_it() -> None:
    piped = shown(result(), terminal=False)
    assert next(line for line in piped if line.startswith("c3")).endswith(REASON)
    plain = [line for line in shown(result(), terminal=True) if "\x1b" not in line]
    assert max(map(len, plain)) <= 80
    assert not any(REASON in line for line in plain)


@pytest.mark.parametrize("level", ["quick", "draft", "production"])
def test_the_lines_that_scale_are_reported_with_their_errors_and_where_they_are_from(level: str) -> None:
    told = result()
    told["provenance"]["scaling"] = {n: line_for(n, "dmso", level).as_dict() for n in ("1H", "13C")}
    text = "\n".join(shown(told, terminal=False))
    line = line_for("1H", "dmso", level)
    assert f"1H line:  shift = {line.intercept_ppm:.4f} - {-line.slope:.6f} x shielding" in text
    assert f"RMSD {line.rmsd_ppm:.2f} ppm over {line.points} shifts" in text
    assert text.count("source:") == 1
    assert "doi 10.3390/molecules28062449" in text


def test_a_shift_without_a_known_error_has_none() -> None:
    told = result()
    told["shifts"].append({**told["shifts"][0], "atom": 9, "equivalent_atoms": [9], "uncertainty_ppm": None})
    lines = shown(told, terminal=False)
    assert any(line.split()[:3] == ["H9", "1.23", "-"] for line in lines)
    assert not any("kind of atom" in line for line in lines)


def test_the_kind_of_an_atom_stands_beside_its_error() -> None:
    told = result()
    told["shifts"][0] |= {"kind": "sp3 on N or O"}
    told["shifts"].append({**told["shifts"][0], "atom": 9, "equivalent_atoms": [9], "kind": None})
    lines = shown(told, terminal=False)
    assert any("± / ppm" in line and "  kind of atom" in line for line in lines)
    assert row_of(lines, "H4")[4:] == ["sp3", "on", "N", "or", "O", "4,", "5,", "6"]
    assert row_of(lines, "H9")[4:] == ["-"]


def test_notes_are_reported() -> None:
    lines = shown(result(notes=["H9 on N, O or S: said of it"]), terminal=False)
    assert "note:     H9 on N, O or S: said of it" in lines


def test_a_partial_ensemble_is_called_so_in_the_title_and_in_a_note() -> None:
    told = result(kind="conformers", shifts=[])
    told["provenance"]["conformers"] |= {"partial": True, "notes": ["partial ensemble: cut short"]}
    text = "\n".join(shown(told, terminal=False))
    assert "conformers by GFN2-xTB, weights at 298.15 K (partial ensemble)" in text
    assert "note:     partial ensemble: cut short" in text


def test_conformers_without_a_weight_have_their_energies() -> None:
    found = [{"energy_hartree": -11.4006}, {"energy_hartree": -11.3982}]
    run = {"conformers": found, "partial": True, "notes": ["partial ensemble: cut short"]}
    told = result(kind="crest", shifts=[], conformers=found, result=run, provenance={})
    lines = shown(told, terminal=False)
    assert row_of(lines, "2") == ["2", "1.51", "-11.398200"]
    assert "note:     partial ensemble: cut short" in lines
