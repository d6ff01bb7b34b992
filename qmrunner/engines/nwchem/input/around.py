"""Settings of a deck that change the energy and are outside the blocks of the theories.

NWChem 7.0.2 does not notice that one of them changed between two tasks: it takes the orbitals of the first for
converged, and repeats their energy. Seen with `cosmo; off`, `charge` (DFT), `relativistic`, `ecp` and `set
int:acc_std`; a new geometry, basis, `bq` or cosmo block and any block of the theory itself are noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qmrunner.engines.nwchem.input.reader import Statement, lower

_NAMES = frozenset({"charge", "cosmo", "relativistic", "ecp", "so", "bq", "dimqm"})
_OF_ONE_LINE = frozenset({"charge"})
_KEYS = ("int:", "scf:", "dft:", "cosmo:", "lindep:", "zora", "doug_kroll", "charge", "nuclear charge")
_AT_FIRST: dict[str, list[tuple[str, ...]]] = {"cosmo": [("cosmo",), ("off",)], "charge": [("charge", "0")]}


@dataclass(slots=True)
class Around:
    """The settings outside the blocks of a theory, and which of them changed since they were last asked for."""

    inside: str = ""
    now: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    before: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)

    def take(self, statement: Statement, *, within: bool) -> None:
        """A statement of the deck; `within` a block, or at its top."""
        words = tuple(lower(word) for word in statement.words)
        if within:
            if self.inside and words != ("end",):
                self.now[self.inside].append(words)
            return
        self.inside = ""
        name = words[0] if words else ""
        if name in ("set", "unset") and len(words) > 1 and words[1].startswith(_KEYS):
            name = f"set {words[1]}"
        elif name not in _NAMES:
            return
        self.now[name] = [words]
        self.inside = "" if name in _OF_ONE_LINE or name.startswith("set ") else name

    def changed(self) -> tuple[str, ...]:
        """Each setting with another text than at the last call, or than NWChem's default."""
        found = tuple(name for name, text in self.now.items() if text != self.before.get(name, _AT_FIRST.get(name)))
        self.before = {name: list(text) for name, text in self.now.items()}
        return found
