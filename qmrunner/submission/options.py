"""What a form of a submission may offer here: solvents, levels, searches, engines and limits."""

from __future__ import annotations

from typing import Any

from qmrunner.app import App
from qmrunner.submission.conformers import SOURCES
from qmrunner.submission.molecule import MAX_ATOMS
from qmrunner.submission.request import MAX_LOST_WEIGHT, SOLVENT, TEMPERATURE_K
from qmrunner.workflows.levels import LEVELS
from qmrunner.workflows.solvents import SOLVENTS

_ENGINES = ("nwchem", "xtb", "crest", "chemistry")


def options(app: App) -> dict[str, Any]:
    """The JSON of `GET /v1/options`. ``engines`` lists which are installed beside this server; with a shared store
    other machines may have the others."""
    return {
        "solvents": [
            {"key": solvent.key, "label": solvent.label, "aliases": list(solvent.aliases), "note": solvent.note}
            for solvent in SOLVENTS
        ],
        "levels": [{"key": level.key, "about": level.about, "last_element": level.last_element} for level in LEVELS],
        "conformers": list(SOURCES),
        "kinds": ["nmr", "conformers", "nwchem", "crest", "xtb", "qcschema"],
        "engines": {name: app.located(name) for name in _ENGINES},
        "defaults": {
            "solvent": SOLVENT, "level": "draft", "conformers": "none", "temperature_k": TEMPERATURE_K,
            "max_lost_weight": MAX_LOST_WEIGHT,
        },
        "limits": {
            "atoms": MAX_ATOMS if app.settings.max_atoms is None else min(MAX_ATOMS, app.settings.max_atoms),
            "body_mib": app.settings.api_max_body_mib,
        },
    }  # fmt: skip
