"""NWChem: decks written and rewritten, launched under the right MPI, read back, resumed."""

from qmrunner.engines.nwchem.confine import findings
from qmrunner.engines.nwchem.engine import NWChem
from qmrunner.engines.nwchem.input.user_deck import check_deck

__all__ = ["NWChem", "check_deck", "findings"]
