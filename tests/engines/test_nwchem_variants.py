"""A deck that NWChem runs is accepted, whatever it looks like; one that is refused is one at which NWChem stops."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.nwchem.input import deck_rewrite, reader
from qmrunner.engines.nwchem.read import Report
from qmrunner.errors import UsageError
from qmrunner.model.jobs import Exit, Submission
from qmrunner.submission import job_kinds
from tests.engines import nwchem_echo
from tests.engines.support import step
from tests.engines.variants import GEOMETRIES, REFUSED, STOPPED, TEXTS, Variant
from tests.sampling import share

MISSING = NWChem().locate({}, shutil.which).path is None and os.environ.get("CI") != "true"
VARIANTS = GEOMETRIES | TEXTS


def written(folder: Path, variant: Variant) -> list[str]:
    """The deck and the files beside it, in `folder`; their paths, the deck first."""
    files = {"v.nw": variant.deck, **variant.files}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in files]


def submitted(folder: Path, variant: Variant) -> Submission:
    own, *beside = written(folder, variant)
    return job_kinds.nwchem(own, beside)


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - REFUSED.keys()))
def test_what_nwchem_reads_is_accepted_and_bound_with_nothing_changed_but_memory(name: str, tmp_path: Path) -> None:
    made = submitted(tmp_path, VARIANTS[name])
    text = reader.decode(made.files["v.nw"])
    bound = deck_rewrite.rewrite(text, 1, 2000)
    own = [said.text.strip() for said in reader.statements(reader.encode(text)) if said.directive not in reader.FOLDERS]
    ran = [said.text.strip() for said in reader.statements(reader.encode(bound.text))]
    assert [said for said in ran if said in own] == own
    assert all(said.startswith("memory total ") for said in ran if said not in own)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_is_refused_with_its_cause(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        submitted(tmp_path, VARIANTS[name])
    assert refused.value.code == REFUSED[name]
    assert refused.value.evidence
    assert refused.value.remedy


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - REFUSED.keys()))
def test_atoms_are_counted_where_the_deck_alone_shows_their_number(name: str) -> None:
    assert deck_rewrite.atoms_in_deck(reader.decode(VARIANTS[name].deck)) == VARIANTS[name].atoms


@pytest.mark.engine
@pytest.mark.skipif(MISSING, reason="nwchem is not installed")
@pytest.mark.parametrize("name", share(sorted(VARIANTS), 4))
def test_the_real_nwchem_runs_it_or_stops_for_a_cause_that_is_known(name: str, tmp_path: Path) -> None:
    written(tmp_path, VARIANTS[name])
    output = nwchem_echo.run(tmp_path, "v.nw")
    # It also comes to its end where it has computed nothing.
    ran = b"CITATION" in output and any(tmp_path.glob("*.movecs"))
    assert ran == (name not in STOPPED)
    log = tmp_path / "v.log"
    log.write_bytes(output)
    known, first = deck_rewrite.atoms_in_deck(reader.decode(VARIANTS[name].deck)), Report(log).tasks.first_geometry
    assert not ran or known is None or first is None or known == first[0]
    if not ran and name not in REFUSED:
        outcome = NWChem().interpret(step("nwchem", "deck", deck="v.nw"), tmp_path, log, Exit(1))
        assert (outcome.code, outcome.failure_class) not in (("unknown", "transient"), ("crashed", "transient"))
