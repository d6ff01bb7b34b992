"""The arrows between the rooms point one way, and the front door opens fast."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "qmrunner"
LIGHT_CHEMISTRY = {f"qmrunner.chemistry.{name}" for name in ("xyz", "elements", "molecule", "topology")}
# Room or module → what of qmrunner it may import. A name allows everything below it.
MAY = {
    "qmrunner.model": {"qmrunner.model"},
    "qmrunner.masking": set(),
    "qmrunner.errors": {"qmrunner.masking"},
    "qmrunner.untrusted": set(),
    "qmrunner.private": {"qmrunner.errors", "qmrunner.untrusted"},
    "qmrunner.settings": {
        "qmrunner.errors",
        "qmrunner.masking",
        "qmrunner.model.labels",
        "qmrunner.model.visible",
        "qmrunner.private",
    },
    "qmrunner.logs": {"qmrunner.errors", "qmrunner.masking", "qmrunner.model.visible"},
    "qmrunner.queue": {"qmrunner.errors", "qmrunner.model"},
    "qmrunner.artifacts": {
        "qmrunner.artifacts",
        "qmrunner.store",
        "qmrunner.logs",
        "qmrunner.errors",
        "qmrunner.untrusted",
    },
    "qmrunner.store": {"qmrunner.store", "qmrunner.model", "qmrunner.errors"},
    "qmrunner.engines": {
        "qmrunner.engines",
        "qmrunner.confinement.interpreter",
        "qmrunner.model",
        "qmrunner.errors",
        "qmrunner.untrusted",
        "qmrunner.__version__",
        *LIGHT_CHEMISTRY,
    },
    "qmrunner.confinement": {"qmrunner.confinement", "qmrunner.model", "qmrunner.settings"},
    "qmrunner.chemistry": {"qmrunner.chemistry", "qmrunner.model", "qmrunner.errors"},
    "qmrunner.workflows": {
        "qmrunner.workflows",
        "qmrunner.model",
        "qmrunner.errors",
        "qmrunner.chemistry",
        "qmrunner.engines",
    },
    "qmrunner.doctor": {
        "qmrunner.doctor",
        "qmrunner.confinement",
        "qmrunner.artifacts",
        "qmrunner.runtime",
        "qmrunner.store",
        "qmrunner.engines",
        "qmrunner.model",
        "qmrunner.queue",
        "qmrunner.settings",
        "qmrunner.logs",
        "qmrunner.errors",
    },
    "qmrunner.api": {
        "qmrunner.api",
        "qmrunner.app",
        "qmrunner.confinement",
        "qmrunner.published",
        "qmrunner.views",
        "qmrunner.why",
        "qmrunner.store",
        "qmrunner.workflows",
        "qmrunner.chemistry.structures",
        "qmrunner.model",
        "qmrunner.settings",
        "qmrunner.logs",
        "qmrunner.errors",
        "qmrunner.__version__",
    },
    "qmrunner.runtime": {
        "qmrunner.runtime",
        "qmrunner.app",
        "qmrunner.confinement",
        "qmrunner.artifacts",
        "qmrunner.store",
        "qmrunner.engines",
        "qmrunner.workflows",
        "qmrunner.model",
        "qmrunner.queue",
        "qmrunner.settings",
        "qmrunner.logs",
        "qmrunner.errors",
        "qmrunner.untrusted",
        "qmrunner.private",
        "qmrunner.__version__",
    },
}
# These start before anything else is loaded, and live beside every engine.
SMALL = (
    *(f"qmrunner.runtime.{name}" for name in ("guardian", "spawner", "meter", "tree", "cgroup", "sampling", "peers")),
    *(f"qmrunner.confinement.{name}" for name in ("enforce", "landlock", "seccomp")),
)
SMALL_MAY = {*SMALL, "qmrunner.model.identity"}
HEAVY = {"rdkit", "numpy", "matplotlib", "scipy"}
LATE = [
    "s3fs",
    "fsspec",
    "botocore",
    "sqlalchemy",
    "alembic",
    "huey",
    "rdkit",
    "numpy",
    "matplotlib",
    "structlog",
    "psutil",
    "apscheduler",
    "fastapi",
    "pydantic",
    "uvicorn",
]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str, *, eager: bool = False) -> Iterator[tuple[str, int]]:
    """Full names of everything a module imports, with the line; with `eager` only what its own import loads."""
    tree = ast.parse(MODULES[name].read_text())
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in MODULES or node.module == "qmrunner" else str(node.module)), node.lineno
        elif eager and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif eager and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        else:
            pending.extend(ast.iter_child_nodes(node))


def within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def strays(name: str, allowed: set[str]) -> list[str]:
    return [
        f"{name}:{line} imports {target}"
        for target, line in imports(name)
        if within(target, {"qmrunner"}) and not within(target, allowed)
    ]


@pytest.mark.parametrize("room", MAY)
def test_a_room_imports_only_from_the_rooms_below_it(room: str) -> None:
    inside = [name for name in MODULES if within(name, {room})]
    assert inside
    assert [stray for name in inside for stray in strays(name, MAY[room])] == []


def test_a_workflow_loads_chemistry_and_engines_only_when_it_is_used() -> None:
    eager = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        if within(name, {"qmrunner.workflows"})
        for target, line in imports(name, eager=True)
        if within(target, {"qmrunner.chemistry", "qmrunner.engines"})
    ]
    assert eager == []


@pytest.mark.parametrize("name", SMALL)
def test_what_runs_beside_every_engine_needs_only_the_standard_library(name: str) -> None:
    targets = list(imports(name))
    assert targets
    assert [f"{target} in line {line}" for target, line in targets if not _standard(target, SMALL_MAY)] == []


def test_the_identity_of_processes_needs_only_the_standard_library() -> None:
    assert [target for target, _ in imports("qmrunner.model.identity") if not _standard(target, set())] == []


def test_only_chemistry_imports_the_big_numerical_packages() -> None:
    users = {name for name in MODULES for target, _ in imports(name) if target.split(".")[0] in HEAVY}
    assert users
    assert {name for name in users if not within(name, {"qmrunner.chemistry"})} == set()


def test_only_the_command_that_starts_it_imports_the_api_and_only_then() -> None:
    users = {name for name in MODULES for target, _ in imports(name) if within(target, {"qmrunner.api"})}
    assert {name for name in users if not within(name, {"qmrunner.api"})} == {"qmrunner.cli.serve"}
    assert not any(within(target, {"qmrunner.api"}) for target, _ in imports("qmrunner.cli.serve", eager=True))


def test_only_cli_and_api_know_the_command_line() -> None:
    users = {
        name for name in MODULES for target, _ in imports(name) if within(target, {"qmrunner.cli", "typer", "rich"})
    }
    assert {name for name in users if not within(name, {"qmrunner.cli", "qmrunner.api", "qmrunner.__main__"})} == set()


def test_the_command_line_loads_nothing_heavy_before_it_knows_what_is_asked() -> None:
    code = f"import sys, json, qmrunner.cli.main; print(json.dumps([m for m in {LATE} if m in sys.modules]))"
    assert json.loads(_python(code)) == []


@pytest.mark.parametrize("name", ["guardian", "spawner"])
def test_guardian_and_spawner_load_nothing_but_the_standard_library(name: str) -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import qmrunner.runtime.{name}\n"
        "import json; print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    loaded = set(json.loads(_python(code)))
    assert loaded - {"qmrunner"} <= sys.stdlib_module_names


def test_importing_a_module_connects_to_nothing_and_writes_nothing(tmp_path: Path) -> None:
    names = [name for name in MODULES if not name.endswith("__main__") and not within(name, {"qmrunner.api"})]
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)"
    _python(code, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def _standard(name: str, also: set[str]) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names or within(name, also)


def _python(code: str, cwd: Path = ROOT) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": os.devnull},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
