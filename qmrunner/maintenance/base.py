"""Types shared by the sweeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from qmrunner.app import App


@dataclass(frozen=True, slots=True)
class Action:
    """One planned action: `verb` (kill, remove, forget, clear) on `target`, because of `reason`."""

    sweep: str
    verb: str
    target: str
    reason: str
    detail: dict[str, int | str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Context:
    """The input of a sweep. `now` is Unix seconds; `contents`: whether to list the whole artifact store."""

    app: App
    now: float
    contents: bool = True
