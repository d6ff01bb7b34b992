"""Which structure of a deck a task computes: its geometry blocks by name, and `set geometry NAME`."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmrunner.engines.nwchem.input.reader import Statement, lower

# Words behind `geometry` that are no name.
_OPTIONS = (
    "unit", "ang", "an", "au", "atom", "bohr", "nm", "nano", "pm", "pico", "bqbq", "print", "noprint", "center",
    "nocenter", "autosym", "noautosym", "autoz", "noautoz", "adjust", "nuc",
)  # fmt: skip
_DEFAULT = "geometry"


@dataclass(slots=True)
class Structures:
    """The geometry in force: its name and how often it was given."""

    alias: dict[str, str] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)

    def take(self, statement: Statement) -> None:
        """A statement outside of blocks, or one that begins a block."""
        words = [lower(word) for word in statement.words]
        if words[:1] == ["geometry"]:
            named = len(words) > 1 and not words[1].startswith(_OPTIONS)
            name = words[1] if named else _DEFAULT
            name = self.alias.get(name, name)
            self.given[name] = self.given.get(name, 0) + 1
        elif words[:2] == ["set", "geometry"] and len(words) > 2:
            self.alias[_DEFAULT] = words[2]

    @property
    def current(self) -> tuple[str, int]:
        """Differs between two tasks if a deck gave the second another structure."""
        name = self.alias.get(_DEFAULT, _DEFAULT)
        return name, self.given.get(name, 0)
