"""What a user asks for, in three bundles: the molecule, the conformer search, and the options of any job.

The command line and the HTTP API fill them in; `kinds` checks them. Their defaults are the only ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SOLVENT = "chloroform"
TEMPERATURE_K = 298.15
MAX_LOST_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class MoleculeRequest:
    """The molecule of an `nmr` or `conformers` job.

    `source` is a SMILES, an InChI or the path of a structure file. `charge` and `multiplicity` None: as the source has
    them. `max_atoms` None: the limit of the kind of job.
    """

    source: str
    solvent: str = SOLVENT
    charge: int | None = None
    multiplicity: int | None = None
    max_atoms: int | None = None


@dataclass(frozen=True, slots=True)
class ConformerSearch:
    """Where conformers come from and which ones are kept.

    `method` is ``none``, ``rdkit``, ``crest`` or ``auto`` (CREST where `crest_installed`, else RDKit); a file with
    several structures is used as the ensemble. `max_conformers` None: a number that suits the molecule.
    `max_lost_weight` is a fraction of the Boltzmann weight, 0 to 1. `allow_topology_change`: a structure that became
    another molecule is kept with a note instead of dropped.
    """

    method: str
    max_conformers: int | None = None
    max_lost_weight: float = MAX_LOST_WEIGHT
    temperature_k: float = TEMPERATURE_K
    crest_installed: bool = False
    allow_topology_change: bool = False


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Options of every kind of job.

    `group` names jobs that belong together, `fresh` computes every step instead of reusing results, `allow_altering`
    permits remedies that alter the answer, `require` are the labels a worker must have, `network` marks a job that came
    over the HTTP API. `key` is the idempotency key.
    """

    name: str | None = None
    priority: int = 0
    key: str | None = None
    fresh: bool = False
    allow_altering: bool = False
    require: Sequence[str] = ()
    network: bool = False
    group: str | None = None
