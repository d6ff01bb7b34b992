"""The structure that a user searches for, as the store has it."""

from __future__ import annotations

from qmrunner.model.job_filter import LONGEST_STRUCTURE, is_inchikey


def canonical(text: str) -> str:
    """The canonical SMILES of a SMILES, its InChIKey if that is too long for the store; an InChIKey as it is.

    Raises UsageError as the readers of SMILES do.
    """
    from qmrunner.chemistry import graphs, structures

    if is_inchikey(text):
        return text
    smiles = structures.read_smiles(text).smiles
    assert smiles is not None  # a SMILES has bond orders
    return smiles if len(smiles) <= LONGEST_STRUCTURE else graphs.inchikey(smiles) or smiles
