"""Programs that qmrunner can run: one package per program, with the interpretation of its output.

The registry imports an engine on first use, so that a command pays only for the engines that it uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from qmrunner.engines.base import Engine
from qmrunner.errors import NotFoundError, nearest

_CLASSES = {
    "nwchem": ("qmrunner.engines.nwchem.engine", "NWChem"),
    "xtb": ("qmrunner.engines.xtb.engine", "Xtb"),
    "crest": ("qmrunner.engines.crest.engine", "Crest"),
    "chemistry": ("qmrunner.engines.chemistry.engine", "Chemistry"),
}
NAMES = tuple(_CLASSES)
# Tasks of Huey applications: no program that could be installed or probed.
_HOSTED = {"huey": ("qmrunner.engines.huey", "HueyTask")}
# The names of each program that are searched on PATH, best first.
BINARIES = {"nwchem": ("nwchem", "nwchem.openmpi", "nwchem.mpich"), "xtb": ("xtb",), "crest": ("crest",)}
# How each engine is installed: the remedy wherever one is missing.
INSTALL = {
    "nwchem": "`apt-get install nwchem-openmpi openmpi-bin`, or set QMRUNNER_NWCHEM to its path",
    "xtb": "`apt-get install xtb`, or set QMRUNNER_XTB to its path",
    "crest": "install CREST 3 and set QMRUNNER_CREST to its path; `--conformers rdkit` works without it",
    "chemistry": "`pip install 'qmrunner[nmr]'`",
}


@cache
def get(name: str) -> Engine:
    """The engine of this name; always the same object.

    Raises NotFoundError `unknown_engine` for any other name.
    """
    if name not in _CLASSES and name not in _HOSTED:
        near = nearest(name, NAMES)
        raise NotFoundError(
            "unknown_engine",
            f"there is no engine {name!r}",
            remedy=f"did you mean {near!r}?" if near else f"engines are {', '.join(NAMES)}",
        )
    module, attribute = _CLASSES[name] if name in _CLASSES else _HOSTED[name]
    engine: Engine = getattr(import_module(module), attribute)()
    return engine


class _Registry(Mapping[str, Engine]):
    def __getitem__(self, name: str) -> Engine:
        if name not in _CLASSES:
            raise KeyError(name)
        return get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


ENGINES: Mapping[str, Engine] = _Registry()
