"""Text for a paper: shift lists in the style of the American Chemical Society, and a paragraph on the methods.

Everything is taken from the result of a job, so that the text is true of that job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qmrunner.chemistry.comparison import DIGITS, NUCLEI, exchanges
from qmrunner.chemistry.solvent_lines import label
from qmrunner.chemistry.spectrum_signals import atom_label, signals

_PROGRAMS = {
    "nwchem": ("NWChem", "Aprà et al., J. Chem. Phys. 2020, 152, 184102, doi 10.1063/5.0004997"),
    "xtb": ("xTB", "Bannwarth et al., WIREs Comput. Mol. Sci. 2021, 11, e1493, doi 10.1002/wcms.1493"),
    "crest": ("CREST", "Pracht, Bohle, Grimme, Phys. Chem. Chem. Phys. 2020, 22, 7169, doi 10.1039/C9CP06869D"),
    "rdkit": ("RDKit", "RDKit: Open-source cheminformatics, https://www.rdkit.org"),
}
_GFN2 = "Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 2019, 15, 1652, doi 10.1021/acs.jctc.8b01176 (GFN2-xTB)"
_ALPB = "Ehlert et al., J. Chem. Theory Comput. 2021, 17, 4250, doi 10.1021/acs.jctc.1c00471 (ALPB)"
_B3LYP = "Becke, J. Chem. Phys. 1993, 98, 5648, doi 10.1063/1.464913 (B3LYP)"
_COSMO = "Klamt, Schüürmann, J. Chem. Soc., Perkin Trans. 2 1993, 799, doi 10.1039/P29930000799 (COSMO)"
_GIAO = "Wolinski, Hinton, Pulay, J. Am. Chem. Soc. 1990, 112, 8251, doi 10.1021/ja00179a005 (GIAO)"
_ETKDG = "Wang et al., J. Chem. Inf. Model. 2020, 60, 2044, doi 10.1021/acs.jcim.0c00025 (ETKDGv3)"
_DELTA50 = "Grimblat et al., Molecules 2023, 28, 2449, doi 10.3390/molecules28062449 (DELTA50)"


def shift_list(result: Mapping[str, Any], nucleus: str) -> str | None:
    """The computed shifts as in a paper: ``13C NMR (calc., B3LYP/6-31G* …, CDCl3) δ 58.1 (C2), 18.2 (C1).``; None
    without such a nucleus."""
    rows = [row for row in result["shifts"] if row["nucleus"] == nucleus]
    if not rows:
        return None
    row_of = {int(row["atom"]): row for row in rows}
    digits = DIGITS[nucleus]
    parts = []
    for shift, atoms in signals(rows):
        first = row_of[atoms[0]]
        words = [f"{len(atoms)}{first['symbol']}"] if nucleus == "1H" or len(atoms) > 1 else []
        words.append(atom_label(atoms, str(first["symbol"])))
        if exchanges(first):
            words.append("exchangeable")
        parts.append(f"{shift:.{digits}f} ({', '.join(words)})")
    line = (result["provenance"].get("scaling") or {}).get(nucleus) or {}
    solvent = str(result["solvent"])
    conditions = ["calc.", *([str(line["method"])] if line.get("method") else []), label(solvent) or solvent]
    return f"{nucleus} NMR ({', '.join(conditions)}) δ {', '.join(parts)}."


def paragraph(result: Mapping[str, Any]) -> str:
    """Sentences on how the shifts were computed."""
    return " ".join(_sentences(result))


def _sentences(result: Mapping[str, Any]) -> Iterator[str]:
    provenance = result["provenance"]
    given = provenance.get("input") or {}
    kept = [row for row in result["conformers"] if row.get("state") == "kept"]
    solvent = (provenance.get("solvent") or {}).get("label") or str(result["solvent"])
    programs = versions(result)
    quick = result["level"] == "quick"
    yield _conformer_sentence(given, _named(programs, "rdkit"), len(kept))
    structure = f"GFN2-xTB{f' (ALPB, {solvent})' if result['solvent'] != 'vacuum' else ''}"
    if quick:
        yield f"Structures were optimised with {structure} in {_named(programs, 'xtb')}."
    else:
        yield (
            f"Structures were optimised at the B3LYP/6-31G* level{_in(result, solvent)} with "
            f"{_named(programs, 'nwchem')}, starting from {structure} structures ({_named(programs, 'xtb')})."
        )
    basis = "6-311+G(2d,p)" if result["level"] == "production" else "6-31G*"
    yield (
        f"Isotropic shieldings were computed at the GIAO B3LYP/{basis} level{_in(result, solvent)} with "
        f"{_named(programs, 'nwchem')}."
    )
    if len(kept) > 1:
        yield (
            f"They were averaged over {len(kept)} conformers with Boltzmann weights of the electronic energies at "
            f"{provenance.get('temperature_k', 298.15):g} K, without vibrational contributions, and over equivalent "
            "atoms."
        )
    for nucleus in NUCLEI:
        line = (provenance.get("scaling") or {}).get(nucleus)
        if line and any(row["nucleus"] == nucleus for row in result["shifts"]):
            sign = "-" if line["slope"] < 0 else "+"
            note = f" ({line['note']})" if line.get("note") else ""
            yield (
                f"{nucleus} shifts follow from δ = {line['intercept_ppm']:.4f} {sign} {abs(line['slope']):.6f} σ, a "
                f"{line['source']}; its RMSD is {line['rmsd_ppm']:.3f} ppm{note}."
            )
    for remedy in provenance.get("remedies") or ():
        if not remedy.get("neutral"):
            yield f"In step {remedy['step']} the program changed the calculation: {remedy['change']}."


def _conformer_sentence(given: Mapping[str, Any], rdkit: str, kept: int) -> str:
    source = given.get("conformers")
    many = f"{kept} conformer{'s were' if kept != 1 else ' was'} kept"
    if source == "rdkit":
        return f"Conformers were generated with ETKDGv3 in {rdkit}; {many}."
    if source == "crest":
        return f"Conformers were searched with CREST; {many}."
    if source == "none":
        return "One conformer was computed, without a search."
    return f"The conformers were given by the user; {many}."


def _in(result: Mapping[str, Any], solvent: str) -> str:
    return "" if result["solvent"] == "vacuum" else f" with COSMO ({solvent})"


def _named(programs: Mapping[str, str | None], key: str) -> str:
    version = programs.get(key)
    return _PROGRAMS[key][0] + (f" {version}" if version else "")


def versions(result: Mapping[str, Any]) -> dict[str, str | None]:
    """Version of each program that took part, by its name here; None where the result has none."""
    found: dict[str, str | None] = {}
    for step in (result["provenance"].get("steps") or {}).values():
        output = step.get("result") or {}
        engine = str(step.get("engine"))
        if engine == "chemistry":
            found["rdkit"] = (output.get("versions") or {}).get("rdkit") or found.get("rdkit")
        elif engine in _PROGRAMS and step.get("state") == "succeeded":
            version = ((output.get("provenance") or {}).get(engine) or {}).get("version")
            found[engine] = str(version) if version else found.get(engine)
    return found


def citations(result: Mapping[str, Any]) -> list[str]:
    """What to cite for the programs and methods of this result."""
    programs = versions(result)
    found = [source for key, (_, source) in _PROGRAMS.items() if key in programs]
    if "xtb" in programs:
        found += [_GFN2, *([_ALPB] if result["solvent"] != "vacuum" else [])]
    if (result["provenance"].get("input") or {}).get("conformers") == "rdkit":
        found.append(_ETKDG)
    found += [_B3LYP, *([_COSMO] if result["solvent"] != "vacuum" else []), _GIAO, _DELTA50]
    return found


def texts(result: Mapping[str, Any]) -> dict[str, Any]:
    """`lists` (by nucleus), `methods` and `citations` of the result of an `nmr` job."""
    lists: Sequence[tuple[str, str | None]] = [(nucleus, shift_list(result, nucleus)) for nucleus in NUCLEI]
    return {
        "lists": {nucleus: text for nucleus, text in lists if text is not None},
        "methods": paragraph(result),
        "citations": citations(result),
    }
