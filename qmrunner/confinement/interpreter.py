"""What this Python must be able to access, for qmrunner's own processes that read untrusted input."""

from __future__ import annotations

import sys
from pathlib import Path

from qmrunner.model.jobs import Reach

_PACKAGE = Path(__file__).resolve().parents[1]  # an import looks for its name in the folder above


def reach() -> Reach:
    """The interpreter, what it loads modules from, this package, and the fonts that matplotlib knows of."""
    modules = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    fonts = str(Path("~/.cache/matplotlib").expanduser())
    return Reach(
        programs=(sys.executable,),
        data=(sys.prefix, sys.base_prefix, *modules, str(_PACKAGE), fonts),
        listed=(str(_PACKAGE.parent),),
    )
