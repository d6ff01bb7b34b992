"""NWChem: decks written and rewritten, launched under the right MPI, read back, resumed."""

from qmrunner.engines.nwchem.confine import findings
from qmrunner.engines.nwchem.deck import check_deck
from qmrunner.engines.nwchem.engine import NWChem

__all__ = ["NWChem", "check_deck", "findings"]
