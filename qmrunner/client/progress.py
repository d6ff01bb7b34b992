"""How a wait shows its progress: a bar in a notebook or on a terminal, lines elsewhere. Writes to stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from qmrunner.client.html import bar
from qmrunner.model import visible

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S = 5.0


class Display(Protocol):
    """Shows one wait. `fraction` is from 0 to 1, None if unknown."""

    def show(self, fraction: float | None, text: str) -> None: ...

    def close(self) -> None: ...


def display(label: str, wanted: bool) -> Display:
    """The display that suits the place where this process runs."""
    if not wanted:
        return _Nothing()
    if _in_notebook():
        return _Notebook(label)
    return _Terminal(label) if sys.stderr.isatty() else _Lines(label)


class _Nothing:
    def show(self, fraction: float | None, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Notebook:
    def __init__(self, label: str) -> None:
        from IPython.display import HTML, display

        self._html: Any = HTML
        self._label = label
        self._last = ""
        self._handle: Any = display(HTML(bar(None, label)), display_id=True)

    def show(self, fraction: float | None, text: str) -> None:
        shown = bar(fraction, f"{self._label}: {text}")
        if shown != self._last:
            self._last = shown
            self._handle.update(self._html(shown))

    def close(self) -> None:
        pass  # the last state stays in the notebook


class _Terminal:
    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar: Progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=30),
            TimeElapsedColumn(), TextColumn("{task.fields[text]}", markup=False), console=Console(stderr=True),
        )  # fmt: skip
        self._task = self._bar.add_task(visible.line(label), total=None, text="")
        self._bar.start()

    def show(self, fraction: float | None, text: str) -> None:
        total = None if fraction is None else 1.0
        self._bar.update(self._task, total=total, completed=fraction or 0.0, text=visible.line(text))

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    def __init__(self, label: str) -> None:
        self._label = label
        self._last, self._at = "", 0.0

    def show(self, fraction: float | None, text: str) -> None:
        now = time.monotonic()
        if text != self._last and (now - self._at >= _LINE_EVERY_S or fraction == 1.0):
            self._last, self._at = text, now
            print(visible.line(f"{self._label}: {text}"), file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    found = None if shell is None else shell.get_ipython()
    return found is not None and hasattr(found, "kernel")
