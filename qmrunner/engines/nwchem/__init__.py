"""NWChem: decks written and rewritten, launched under the right MPI, read back, resumed."""

from qmrunner.engines.nwchem.engine import NWChem
from qmrunner.engines.nwchem.input.deck_resume import can_resume
from qmrunner.engines.nwchem.input.deck_rewrite import check_deck
from qmrunner.engines.nwchem.input_check import findings

__all__ = ["NWChem", "can_resume", "check_deck", "findings"]
