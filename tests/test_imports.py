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

from qmrunner import app as composition
from qmrunner.model.jobs import Submission
from qmrunner.settings import Settings
from qmrunner.store.advance import accept
from tests.support import ROOT

PACKAGE = ROOT / "qmrunner"
# Room or module → what else of qmrunner it may import. Everything stands on
# what comes before it, so there is no circle and no arrow back.
ROOMS: dict[str, str] = {
    "guardian": "",
    "masking": "",
    "untrusted": "",
    "errors": "masking",
    "private": "errors untrusted",
    "service_links": "",
    "model": "",
    "setting_values": "errors masking model.labels",
    "settings_file": "errors masking setting_values",
    "settings": "errors masking model.app_sections model.visible private service_links setting_values settings_file",
    "logs": "errors masking model.visible",
    "chemistry": "errors model",
    "confinement": "guardian model settings",
    "engines": "__version__ confinement.interpreter errors model untrusted "
    "chemistry.xyz chemistry.elements chemistry.molecule chemistry.qcschema_molecule chemistry.topology",
    "workflows": "errors model",
    "host": "engines.base errors guardian logs model settings untrusted",
    "queue": "errors host.sockets",
    "store": "errors model",
    "artifacts": "errors logs store untrusted",
    "app": "artifacts engines errors host model private queue settings store workflows",
    # Starts workers; whatever needs one may not know how it is started.
    "slurm": "app errors model private settings settings_file store",
    "submission": "app artifacts.blobs chemistry engines errors host.durable model store workflows",
    "attempt": "__version__ app artifacts confinement engines errors guardian host logs model private settings store "
    "untrusted workflows",
    # `apps.side` runs in the application's interpreter: `test_apps_side_needs_only_huey` has its rule.
    "apps": "app attempt.active attempt.directory attempt.spawner_client engines.huey errors guardian host logs model "
    "private settings store untrusted",
    "reports": "__version__ app artifacts attempt.publish attempt.redirected attempt.reuse chemistry engines errors "
    "guardian.peers guardian.process_identity guardian.process_tree guardian.sampling host masking model settings "
    "store untrusted workflows",
    "maintenance": "app artifacts attempt guardian host logs model store",
    "worker": "app apps attempt errors guardian host logs model queue reports store",
    "supervisor": "__version__ app apps.command artifacts attempt.directory attempt.log_registry attempt.narration "
    "attempt.spawner_client errors guardian host logs maintenance model private settings store untrusted "
    "worker",
    "doctor": "app apps.command artifacts attempt confinement engines errors guardian host logs masking model private "
    "service_links settings settings_file store supervisor.health",
    "api": "__version__ app chemistry confinement doctor.checks engines.base engines.convergence errors "
    "guardian.confine host.sockets host.threads logs maintenance masking model reports store submission untrusted",
    "web": "__version__ api app chemistry errors logs model reports store submission workflows",
    # It speaks HTTP also with the local home, so it needs nothing of a server.
    "client": "__version__ chemistry errors model.visible",
}
MAY = {f"qmrunner.{room}": {f"qmrunner.{name}" for name in (room, *words.split())} for room, words in ROOMS.items()}
# The guardian's process is one loop that is read from top to bottom.
LONG = {"qmrunner.guardian.process"}
LONGEST_LINES = 350
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
    "apscheduler",
    "fastapi",
    "pydantic",
    "uvicorn",
    "jinja2",
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


def test_every_room_stands_on_rooms_that_come_before_it() -> None:
    before: set[str] = {"__version__"}
    for room, words in ROOMS.items():
        assert {word.split(".")[0] for word in words.split()} <= before, room
        before.add(room)
    parts = {name.split(".")[1] for name in MODULES if "." in name}
    assert parts - before == {"cli", "__main__"}  # these may import everything


def test_the_guardian_needs_only_the_standard_library_and_itself() -> None:
    """Its processes start before anything else is loaded, and live beside every engine."""
    inside = [name for name in MODULES if within(name, {"qmrunner.guardian"})]
    assert len(inside) > 5
    assert [
        f"{name}:{line} imports {target}"
        for name in inside
        for target, line in imports(name)
        if not _standard(target, {"qmrunner.guardian"})
    ] == []


def test_apps_side_needs_only_huey_the_standard_library_and_the_guardian() -> None:
    """It is loaded into processes of applications, which have their own packages."""
    inside = [name for name in MODULES if within(name, {"qmrunner.apps.side"})]
    assert len(inside) > 4
    assert [
        f"{name}:{line} imports {target}"
        for name in inside
        for target, line in imports(name)
        if not _standard(target, {"qmrunner.guardian", "qmrunner.apps.side", "huey"})
    ] == []


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name for name, count in lines.items() if count > LONGEST_LINES} <= LONG


def test_only_chemistry_imports_the_big_numerical_packages() -> None:
    users = {name for name in MODULES for target, _ in imports(name) if target.split(".")[0] in HEAVY}
    assert users
    # ASE calculates with arrays of numpy.
    assert {name for name in users if not within(name, {"qmrunner.chemistry", "qmrunner.client.ase"})} == set()


@pytest.mark.parametrize(("room", "above"), [("api", {"qmrunner.web"}), ("web", set[str]())])
def test_only_the_command_that_starts_them_imports_api_and_pages_and_only_then(room: str, above: set[str]) -> None:
    own = f"qmrunner.{room}"
    users = {name for name in MODULES for target, _ in imports(name) if within(target, {own})}
    assert {name for name in users if not within(name, {own, *above})} == {"qmrunner.cli.serve"}
    assert not any(within(target, {own}) for target, _ in imports("qmrunner.cli.serve", eager=True))


def test_only_cli_and_api_know_the_command_line() -> None:
    users = {
        name for name in MODULES for target, _ in imports(name) if within(target, {"qmrunner.cli", "typer", "rich"})
    }
    assert {name for name in users if not within(name, {"qmrunner.cli", "qmrunner.api", "qmrunner.__main__"})} == {
        "qmrunner.client.progress"  # the bar of a wait on a terminal
    }
    assert not any(within(target, {"qmrunner.cli", "typer"}) for target, _ in imports("qmrunner.client.progress"))


def test_the_command_line_loads_nothing_heavy_before_it_knows_what_is_asked() -> None:
    code = f"import sys, json, qmrunner.cli.main; print(json.dumps([m for m in {LATE} if m in sys.modules]))"
    assert json.loads(_python(code)) == []


# What a short command may load: parts of qmrunner, and packages of others.
_STATUS = (
    "app cli.common cli.job_list cli.logs cli.main cli.program cli.selection cli.status errors guardian.kernel_file "
    "guardian.peers guardian.process_identity guardian.process_tree guardian.syscall host.atomic_write host.home "
    "host.sockets masking model.app_names model.app_sections model.app_tasks model.disk_space model.eta model.jobs "
    "model.labels model.learned_demand model.packing model.remedies model.states model.text model.visible private "
    "reports.apps reports.interrupted reports.named reports.remote reports.status service_links setting_values "
    "settings settings_file store.artifacts store.events store.huey_jobs store.jobs store.postgres store.reservations "
    "store.rows store.schema store.session store.sqlite_filesystems store.tables store.usage_peaks "
    "store.worker_history store.workers untrusted workflows.base workflows.single"
)
_WHY = f"{_STATUS} cli.render model.units model.policy reports.why store.ready_steps"
_WATER = {"structure": "a.xyz", "args": [], "atoms": 3, "files": ["a.xyz"]}
_PACKAGES = {
    "annotated_doc",
    "click",
    "cython_runtime",
    "greenlet",
    "shellingham",
    "sqlalchemy",
    "typer",
    "typing_extensions",
}


@pytest.mark.parametrize(("command", "parts"), [("status", _STATUS), ("status JOB", _WHY), ("why JOB", _WHY)])
def test_a_short_command_loads_only_what_it_needs(tmp_path: Path, command: str, parts: str) -> None:
    app = composition.build(Settings(home=tmp_path / "home"))
    app.open_store(create=True)
    with app.store.write() as connection:
        accept(connection, 0.0, "abc", Submission("xtb", _WATER), app.planner)
    app.close()
    code = (
        "import sys, json\nfrom qmrunner.cli.main import main\n"
        f"sys.argv = {['qmrunner', *command.replace('JOB', 'abc').split(), '--json']}\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print(); print(json.dumps([*sys.modules]))"
    )
    loaded = set(json.loads(_python(code, home=tmp_path / "home").splitlines()[-1]))
    allowed = {f"qmrunner.{part}" for part in parts.split()}
    rooms = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert {name for name in loaded if within(name, {"qmrunner"})} - allowed - rooms == set()
    others = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - {"__main__", "qmrunner"}
    assert {name for name in others if not name.startswith("_")} - _PACKAGES == set()


@pytest.mark.parametrize("name", ["process", "spawner"])
def test_guardian_and_spawner_load_nothing_but_the_standard_library(name: str) -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import qmrunner.guardian.{name}\n"
        "import json; print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    loaded = set(json.loads(_python(code)))
    assert loaded - {"qmrunner"} <= sys.stdlib_module_names


def test_importing_a_module_connects_to_nothing_and_writes_nothing(tmp_path: Path) -> None:
    names = [
        name for name in MODULES if not name.endswith("__main__") and not within(name, {"qmrunner.api", "qmrunner.web"})
    ]
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)"
    _python(code, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def _standard(name: str, also: set[str]) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names or within(name, also)


def _python(code: str, cwd: Path = ROOT, home: Path | None = None) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={
            **os.environ,
            **({"QMRUNNER_HOME": str(home)} if home else {}),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MPLCONFIGDIR": os.devnull,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
