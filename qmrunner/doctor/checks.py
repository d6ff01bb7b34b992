"""Run all checks in order and collect the facts they need. The checks themselves are in the other modules here."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from qmrunner.confinement.policy import kernel as confining_kernel
from qmrunner.doctor import app as doctor_app
from qmrunner.doctor import engines, environment, machine, services
from qmrunner.doctor import folders as doctor_folders
from qmrunner.doctor.confinement import confinement
from qmrunner.doctor.finding import Check, Finding, ask
from qmrunner.engines import BINARIES, ENGINES
from qmrunner.engines.base import Installed
from qmrunner.errors import NotReadyError, QmrunnerError
from qmrunner.guardian import cgroup, process_tree
from qmrunner.host.capacity import capacity, memory_limit, tasks_left
from qmrunner.model.packing import Capacity
from qmrunner.settings import Settings

Question = tuple[str, Check]
Event = tuple[str, str, dict[str, Any]]
# A daemon cannot work where one of these fails. Any other failure affects only some jobs.
_REFUSED = frozenset({
    "home", "jobs", "run", "scratch", "logs", "owner", "private", "scratch_space", "store_filesystem",
    "memory", "kernel", "clock", "engines",
})  # fmt: skip
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")


def startup(settings: Settings) -> list[Finding]:
    """The quick checks: no other process, no network, a few milliseconds. Raises nothing."""
    questions = [*_places(settings), *_machine(settings), *_located(settings)]
    return [finding for name, check in questions for finding in ask(name, check)]


def events(findings: list[Finding], seconds: float) -> list[Event]:
    """The daemon's events: (level, event, fields) for each finding that is not ok, then the counts."""
    levels = {"warn": "warning", "fail": "error"}
    not_ok: list[Event] = [
        (
            levels[finding.result],
            "check",
            {"check": finding.name, **{key: getattr(finding, key) for key in ("result", "code", "text", "remedy")}},
        )
        for finding in findings
        if finding.result != "ok"
    ]
    counts = {result: sum(finding.result == result for finding in findings) for result in ("ok", "warn", "fail")}
    return [*not_ok, ("info", "checks_done", {**counts, "seconds": round(seconds, 3)})]


def refusal(findings: list[Finding]) -> NotReadyError | None:
    """The error with which `qmrunner run` refuses to start; None when it can work."""
    blocking = [finding for finding in findings if finding.result == "fail" and finding.name in _REFUSED]
    if not blocking:
        return None
    first = blocking[0]
    more = f" (and {len(blocking) - 1} more: see `qmrunner doctor`)" if len(blocking) > 1 else ""
    return NotReadyError(first.code or "not_ready", f"{first.name}: {first.text}{more}", remedy=first.remedy)


def examine(settings: Settings | None, problem: QmrunnerError | None = None) -> Iterator[Finding]:
    """All checks except real runs. Where the settings cannot be read (`problem`): those that do not need them."""
    questions: list[Question] = [("settings", lambda: services.settings(problem, settings.home if settings else None))]
    if settings is None:
        questions += _machine(Settings(home=Path("/")))
    else:
        questions += [*_services(settings), *_places(settings), *_machine(settings), *_engines(settings)]
    for name, check in questions:
        yield from ask(name, check)


def installed(name: str, settings: Settings) -> Installed:
    """Probe the engine by starting it."""
    from qmrunner.host.probe import probe

    return probe(ENGINES[name], settings.programs())


# -- folders ----------------------------------------------------------------------------------------------------------


def _places(settings: Settings) -> Iterator[Question]:
    folders = {
        "home": settings.home,
        "jobs": settings.jobs_root,
        "run": settings.run_root,
        "scratch": settings.scratch_root,
        "logs": settings.logs_root,
    }
    once = cache(doctor_folders.try_folder)  # folders that do not exist yet are tried in the same parent folder
    for name, path in folders.items():
        yield name, lambda name=name, path=path: _folder(name, path, once)  # type: ignore[misc]
    yield "owner", lambda: doctor_folders.owners(_owned(settings, list(folders.values())), os.geteuid(), os.getegid())
    yield "private", lambda: doctor_folders.privacy(settings.roots(), settings.group_access)
    yield "scratch_space", lambda: _scratch(settings.scratch_root, settings.scratch_soft_mib)
    yield "store_filesystem", lambda: doctor_folders.store_place(_sqlite_file(settings), _mounts())


def _folder(name: str, path: Path, try_folder: Callable[[Path], doctor_folders.Trial]) -> Finding:
    there = doctor_folders.existing(path)
    try:
        found = os.stat(there)
    except OSError:
        owner = None
    else:
        owner = (found.st_uid, found.st_gid)
    return doctor_folders.folder(name, path, try_folder(there), owner)


def _owned(settings: Settings, folders: list[Path]) -> Iterator[tuple[Path, int, int, bool]]:
    files = [settings.home / name for name in ("store.db", "store.db-wal", "store.db-shm", "queue.db")]
    seen: set[Path] = set()
    for path in [*folders, *files]:
        try:
            found = os.lstat(path)
        except OSError:
            continue  # missing, or reported with its parent folder
        if path not in seen:
            seen.add(path)
            yield path, found.st_uid, found.st_gid, os.access(path, os.W_OK)


def _scratch(root: Path, mark_mib: int | None) -> Finding:
    from qmrunner.store.sqlite_filesystems import mount_of

    there = doctor_folders.existing(root)
    mount = mount_of(Path(os.path.realpath(there)), _mounts())
    return doctor_folders.scratch(root, machine.space_of(there), mount.kind if mount else None, mark_mib)


def _mounts() -> str:
    return os.fsdecode(Path("/proc/self/mountinfo").read_bytes())


def _sqlite_file(settings: Settings) -> Path | None:
    """The file of a SQLite store; None for a server. Raises QmrunnerError for a URL that names none."""
    from qmrunner.store.session import file_of

    return file_of(settings.store)


# -- machine ----------------------------------------------------------------------------------------------------------


def _machine(settings: Settings) -> Iterator[Question]:
    what = cache(lambda: capacity(settings))
    affinity = len(os.sched_getaffinity(0))
    yield "cores", lambda: machine.cores(what(), affinity, cgroup.cpu_quota(), settings.cores)
    yield "memory", lambda: _memory(what(), settings.memory_mib)
    yield "shm", lambda: machine.shm(_shm(), what().slots)
    yield "kernel", lambda: machine.kernel(_subreaper(), _pidfd())
    yield "confinement", lambda: confinement(confining_kernel(), settings.confine)
    yield "processes", lambda: machine.processes(tasks_left(), what().cores)
    yield "stack", lambda: machine.stack(*resource.getrlimit(resource.RLIMIT_STACK))
    names = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_CPU)
    yield "limits", lambda: machine.limits(*(resource.getrlimit(name)[1] for name in names))
    yield "clock", lambda: _clock(settings)
    yield "tmpdir", _temporary
    yield "environment", lambda: environment.conflicts(os.environ, bool(settings.apps))


def _memory(what: Capacity, setting: int | None) -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit()
    limit_mib = None if limit is None or limit >= total else limit // 2**20
    counted, together = cgroup.oom_kills() is not None, cgroup.oom_kills_all()
    return machine.memory(what, total // 2**20, limit_mib, setting, counted, together)


def _pidfd() -> OSError | None:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as problem:
        return problem
    return None


def _subreaper() -> OSError | None:
    try:
        process_tree.can_be_subreaper()
    except OSError as problem:
        return problem
    return None


def _shm() -> machine.Space | None:
    found = machine.space_of("/dev/shm")
    if found is None:
        return None
    trial = doctor_folders.try_folder(Path("/dev/shm"))
    problem = None if trial.step is None else f"{trial.step} failed: {trial.words}"
    return machine.Space(found.total_mib, found.free_mib, found.files_free, problem)


def _clock(settings: Settings) -> Finding:
    newest = max(filter(None, map(_changed, (settings.home, settings.home / "store.db"))), default=None)
    zone = os.environ.get("TZ")
    built = _changed(Path(__file__)) or 0.0
    return machine.clock(time.time(), built, newest, zone, machine.zone_is_known(zone))


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _temporary() -> Finding:
    given = next((os.environ[name] for name in _TEMPORARY if os.environ.get(name)), None)
    problem = None
    if given:
        trial = doctor_folders.try_folder(Path(given))
        problem = None if trial.step is None else f"{trial.step} failed: {trial.words}"
    try:
        usable: str | None = tempfile.gettempdir()
    except OSError:
        usable = None
    return machine.temporary(given, problem, usable)


# -- engines ----------------------------------------------------------------------------------------------------------


def _located(settings: Settings) -> Iterator[Question]:
    """The checks of engines that start none of them."""
    usable: list[str] = []

    def check_engine(name: str) -> Finding:
        finding = _where(name, settings)
        usable.extend([name] if finding.result == "ok" else [])
        return finding

    for name in BINARIES:
        yield name, lambda name=name: check_engine(name)  # type: ignore[misc]
    yield "engines", lambda: engines.any_engine(usable, bool(settings.apps))


def _where(name: str, settings: Settings) -> Finding:
    configured = settings.programs()[name]
    # Without importing the engines: their failure catalogues would make every start of a daemon 0.1 s slower.
    names = [configured] if configured else BINARIES[name]
    found = next((path for path in map(shutil.which, names) if path), None)
    return engines.located(name, found, configured, engines.machines_here())


def _engines(settings: Settings) -> Iterator[Question]:
    """The same checks, and those that start the engines."""
    usable: list[str] = []

    def check_engine(name: str) -> list[Finding]:
        where = _where(name, settings)
        findings = list(_probed(name, settings)) if where.result == "ok" else [where]
        usable.extend([name] if all(finding.result == "ok" for finding in findings) else [])
        return findings

    for name in BINARIES:
        yield name, lambda name=name: check_engine(name)  # type: ignore[misc]
    yield "engines", lambda: engines.any_engine(usable, bool(settings.apps))
    yield "chemistry", lambda: engines.chemistry(installed("chemistry", settings))


def _probed(name: str, settings: Settings) -> Iterator[Finding]:
    from qmrunner.engines.nwchem.launch import rc_files

    found = installed(name, settings)
    yield engines.answers(name, found)
    if name != "nwchem":
        return
    yield engines.launcher(found)
    composed = environment.environment_of(ENGINES[name], found, settings, capacity(settings), os.environ)
    flavour = found.facts.get("launcher_flavour")
    yield from engines.launcher_options(flavour, composed.variables, os.geteuid())
    yield doctor_folders.path_length(environment.example_folder(settings).work / "tmp", flavour)
    given = os.environ.get("NWCHEM_BASIS_LIBRARY")
    yield engines.basis(given, engines.beside(str(found.path)), rc_files())


# -- services ---------------------------------------------------------------------------------------------------------


def _store(settings: Settings) -> Iterator[Finding]:
    path = _sqlite_file(settings)
    if path is None:
        yield from services.postgres(settings.store)
    else:
        yield services.sqlite_store(path)


def _services(settings: Settings) -> Iterator[Question]:
    from qmrunner.supervisor.health import examine as health

    yield "daemon", lambda: services.daemon(health(settings))
    yield "store", lambda: _store(settings)
    for section in settings.apps:
        yield "app", partial(doctor_app.command, shlex.join(section.command), section.name)
    if settings.artifacts is not None:
        url = settings.artifacts
        yield "artifacts", lambda: services.artifact_store(url, settings.store)
    if not settings.queue.startswith("sqlite"):
        yield "redis", lambda: list(services.redis_queue(settings.queue))
