"""Settings: environment variables `QMRUNNER_*` override the settings file, which overrides the defaults.

Every field is one variable: `lease_seconds` is `QMRUNNER_LEASE_SECONDS`. The file (`QMRUNNER_CONFIG`, else
`qmrunner.env` in the home) has one `QMRUNNER_NAME=value` per line. An unknown name is refused and the nearest known one
suggested; all problems are reported together. Plain dataclasses: pydantic-settings costs 0.15 s at every start of the
command line (docs/decisions, 1).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner import masking, private, service_links, settings_file
from qmrunner import setting_values as read
from qmrunner.errors import UsageError, nearest
from qmrunner.model import visible

if TYPE_CHECKING:
    from qmrunner.model.app_sections import AppSection

PREFIX = settings_file.PREFIX
# Passwords that libraries take from the environment.
_SECRETS = ("PGPASSWORD", "REDISCLI_AUTH", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# Read by parts of the program that run before the settings are loaded.
RESERVED = frozenset({"CONFIG", "ATTEMPT"})


def _setting(value_of: Callable[[str], Any], about: str, **kw: Any) -> Any:
    return field(metadata={"read": value_of, "about": about}, **kw)


@dataclass(frozen=True)
class Settings:
    """All settings, with their defaults. None means: derived from the machine or from `home`."""

    home: Path = _setting(
        read.path,
        "folder that holds the state of this installation",
        default_factory=lambda: read.path("qmrunner-data"),
    )
    store_url: str | None = _setting(
        read.url("sqlite", "postgresql"), "URL of the store; default SQLite in home", default=None
    )
    queue_url: str | None = _setting(
        read.url("sqlite", "redis", "rediss"), "URL of the queue; default SQLite in home", default=None
    )
    store_password_file: Path | None = _setting(read.path, "file that contains the password of the store", default=None)
    queue_password_file: Path | None = _setting(read.path, "file that contains the password of the queue", default=None)
    jobs: Path | None = _setting(read.path, "folder for inputs and results; default home/jobs", default=None)
    artifacts: str | None = _setting(
        read.place,
        "artifact store through which machines exchange files; unset: the jobs folder, which other machines must share",
        default=None,
    )
    checkpoint_seconds: float = _setting(
        read.seconds(0), "minimum seconds between two checkpoint uploads of a running step", default=300.0
    )
    scratch: Path | None = _setting(
        read.path, "folder for the working files of engines; default home/scratch", default=None
    )
    logs: Path | None = _setting(read.path, "folder for engine logs; default home/logs", default=None)
    group_access: str = _setting(
        read.choice(*private.ACCESS),
        "access of the Unix group to every file qmrunner creates: off, read, write",
        default="off",
    )
    worker_name: str = _setting(read.text, "name of this worker", default_factory=socket.gethostname)
    labels: tuple[str, ...] = _setting(read.label_list, "labels of this worker, separated by commas", default=())
    slots: int | None = _setting(
        read.integer(1), "maximum number of attempts running at once; default one per core", default=None
    )
    cores: int | None = _setting(
        read.integer(1), "cores to use; default: all that CPU affinity and quota allow", default=None
    )
    memory_mib: int | None = _setting(
        read.integer(64), "memory to use in MiB; default: what the machine or container allows", default=None
    )
    scratch_soft_mib: int | None = _setting(
        read.integer(0),
        "free scratch in MiB below which no step starts; default 5 % of the volume, at most 2048",
        default=None,
    )
    scratch_hard_mib: int | None = _setting(
        read.integer(0),
        "free scratch in MiB below which the step furthest over its reservation is stopped; default soft / 4",
        default=None,
    )
    ballast_mib: int = _setting(
        read.integer(0), "size in MiB of a reserve file that is deleted when the home's disk is full", default=16
    )
    heartbeat_seconds: float = _setting(read.seconds(0.05), "seconds between two heartbeats of a worker", default=4.0)
    lease_seconds: float = _setting(
        read.seconds(0.2),
        "seconds without a heartbeat before a worker on another machine is declared lost",
        default=18.0,
    )
    stop_grace_seconds: float = _setting(
        read.seconds(0.5), "seconds from SIGTERM until every process has ended", default=20.0
    )
    outage_grace_seconds: float = _setting(
        read.seconds(0), "how long engines keep running while the store is unreachable, seconds", default=3600.0
    )
    adoption_seconds: float = _setting(
        read.seconds(0), "how long a guardian waits for a new worker process, seconds", default=600.0
    )
    max_retries: int = _setting(read.integer(0), "maximum number of automatic retries of a failed step", default=2)
    retry_delay_seconds: float = _setting(
        read.seconds(0),
        "seconds before the first retry, at most 0.5 for a Huey task; doubles with each retry",
        default=5.0,
    )
    poison_deaths: int = _setting(
        read.integer(1), "number of worker deaths after which the step that caused them is held", default=3
    )
    hang_watch: str = _setting(read.choice("on", "off"), "kill and retry steps that hang", default="on")
    hang_floor_seconds: float = _setting(
        read.seconds(0), "seconds without output after which a step with a stopped process counts as hung", default=60.0
    )
    hang_quiet_seconds: float = _setting(
        read.seconds(0), "seconds without output after which an idle step counts as hung", default=600.0
    )
    hang_busy_seconds: float = _setting(
        read.seconds(0), "seconds without output after which a step that only uses CPU counts as hung", default=21600.0
    )
    retention_days: float = _setting(read.seconds(0, "days"), "days to keep the scratch of failed steps", default=7.0)
    log_retention_days: float = _setting(read.seconds(0, "days"), "days to keep the logs of ended jobs", default=90.0)
    task_retention_days: float = _setting(
        read.seconds(0, "days"), "days to keep what is known of succeeded tasks of Huey applications", default=7.0
    )
    result_retention_days: float | None = _setting(
        read.seconds(0, "days"), "days to keep results; unset: forever", default=None
    )
    sweep_seconds: float = _setting(read.seconds(1), "seconds between two sweeps for leftovers", default=600.0)
    reuse: str = _setting(
        read.choice("on", "off"), "reuse the results of identical steps computed before", default="on"
    )
    remedies: str = _setting(
        read.choice("neutral", "all", "off"), "automatic changes to a failed step before its retry", default="neutral"
    )
    confine: str = _setting(
        read.choice("require", "auto", "off"),
        "kernel confinement of engines; require: refuse inputs from the network where it is unavailable",
        default="auto",
    )
    confine_allow: tuple[Path, ...] = _setting(
        read.paths,
        "extra folders and programs that confined engines may read and execute, separated by colons",
        default=(),
    )
    log_level: str = _setting(
        read.choice("debug", "info", "warning", "error"), "lowest severity of printed events", default="info"
    )
    tee: str = _setting(
        read.choice("full", "progress", "off"),
        "engine output on stdout: all of it, one line per phase and iteration, or none",
        default="full",
    )
    api_host: str = _setting(read.text, "address that `serve` listens on", default="127.0.0.1")
    api_port: int = _setting(read.integer(0), "port of `serve`; 0 picks a free one", default=8642)
    api_token_file: Path | None = _setting(
        read.path, "file with the secret of the first admin token, which `serve` adds to a store without", default=None
    )
    api_max_body_mib: int = _setting(read.integer(1), "largest request body that `serve` accepts, MiB", default=64)
    api_rate_per_minute: int = _setting(
        read.integer(1), "requests per minute that `serve` accepts from one client", default=600
    )
    api_url: str | None = _setting(
        read.url("https", "http"), "address at which browsers reach `serve` through a proxy, like https://qm.example.org",
        default=None,
    )  # fmt: skip
    api_prefix: str | None = _setting(
        read.prefix, "path below which a proxy offers `serve`, like /qmrunner; the proxy may keep or remove it",
        default=None,
    )  # fmt: skip
    api_plain_sign_in: str = _setting(
        read.choice("on", "off"), "allow signing in to the pages over plain http from other machines", default="off"
    )
    max_atoms: int | None = _setting(
        read.integer(1),
        "maximum number of atoms of a molecule; default 100 for `nmr`, 200 for `conformers`",
        default=None,
    )
    app: str | None = _setting(
        read.command,
        "command of a Huey application whose tasks this worker runs, as `qmrunner run -- COMMAND` takes it",
        default=None,
    )
    sbatch_options: str | None = _setting(
        read.command,
        "options of Slurm's sbatch for the pilots that `qmrunner slurm` starts, like --partition=long --mem=32G",
        default=None,
    )
    nwchem: str | None = _setting(read.text, "path of the NWChem program", default=None)
    mpirun: str | None = _setting(read.text, "path of the MPI launcher", default=None)
    crest: str | None = _setting(read.text, "path of the CREST program", default=None)
    xtb: str | None = _setting(read.text, "path of the xTB program", default=None)

    @property
    def store(self) -> str:
        return self.store_url or f"sqlite:///{self.home / 'store.db'}"

    @property
    def queue(self) -> str:
        return self.queue_url or f"sqlite:///{self.home / 'queue.db'}"

    # Cached: the folder must not change while a process runs attempts in it.
    @cached_property
    def scratch_root(self) -> Path:
        """The scratch folder; below a shared folder, the private folder of this user."""
        return private.private_root(self.scratch) if self.scratch else self.home / "scratch"

    @cached_property
    def logs_root(self) -> Path:
        return private.private_root(self.logs) if self.logs else self.home / "logs"

    @property
    def jobs_root(self) -> Path:
        return self.jobs or self.home / "jobs"

    @property
    def run_root(self) -> Path:
        """Sockets, locks and the state file of the running daemon."""
        return self.home / "run"

    def roots(self) -> tuple[tuple[str, Path], ...]:
        """The folders that must be private, each with the variable that names it."""
        return (
            (f"{PREFIX}HOME", self.home),
            (f"{PREFIX}JOBS", self.jobs_root),
            (f"{PREFIX}SCRATCH", self.scratch_root),
            (f"{PREFIX}LOGS", self.logs_root),
            (f"{PREFIX}HOME", self.run_root),
        )

    # Cached: a daemon runs the applications it began with.
    @cached_property
    def apps(self) -> tuple[AppSection, ...]:
        """The Huey applications of this worker. Raises UsageError for an `apps.toml` that cannot be used."""
        from qmrunner.model import app_sections

        path = self.home / app_sections.FILE
        try:
            text = path.read_text() if path.exists() else ""
            return app_sections.sections(text, self.app)
        except (OSError, ValueError) as problem:
            lines = "".join(f"\n  {visible.line(line)}" for line in str(problem).splitlines())
            raise UsageError(
                "apps_invalid", f"{path} cannot be used:{lines}", remedy="correct the file, then start the daemon again"
            ) from None

    def programs(self) -> dict[str, str | None]:
        return {"nwchem": self.nwchem, "mpirun": self.mpirun, "crest": self.crest, "xtb": self.xtb}


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read, convert and check all settings. Raises UsageError that lists every problem found."""
    env = os.environ if environment is None else environment
    foreign = service_links.links_of(env.items(), PREFIX)  # of a container platform; `doctor` lists them
    given = {name: value for name, value in env.items() if name.startswith(PREFIX) and name not in foreign}
    problems: list[str] = []
    masking.know(settings_file.urls(given.items()), (env[name] for name in _SECRETS if env.get(name)))
    from_file = settings_file.read_lines(given, problems)
    known = {f"{PREFIX}{f.name.upper()}": f for f in fields(Settings)}
    values: dict[str, Any] = {}
    refused: set[str] = set()
    for name, text in {**from_file, **given}.items():
        if name.removeprefix(PREFIX) in RESERVED:
            continue
        entry = known.get(name)
        if entry is None:
            near = nearest(name, list(known))
            problems.append(f"{visible.line(name)}: unknown setting" + (f"; did you mean {near}?" if near else ""))
        elif text != "":
            try:
                _refuse_undecodable(text)
                if (value := settings_file.plain(text)) != "":
                    values[entry.name] = entry.metadata["read"](value)
            except ValueError as problem:
                problems.append(f"{name}: {problem}")
                refused.add(entry.name)
    for what in ("store", "queue"):
        problems += settings_file.take_password(what, values)
    settings = Settings(**values)
    try:
        _refuse_undecodable(str(settings.home))
    except ValueError as problem:
        problems.append(f"{PREFIX}HOME: {problem}")
    if not refused & {"lease_seconds", "heartbeat_seconds", "scratch_soft_mib", "scratch_hard_mib"}:
        problems += _cross_check(settings)
    if problems:
        raise UsageError(
            "settings_invalid",
            f"{len(problems)} setting(s) cannot be used:\n" + "\n".join(f"  {p}" for p in problems),
            remedy="correct the environment variables or the file named above",
        )
    return settings


def _refuse_undecodable(text: str) -> None:
    """Raise ValueError for text that is not valid UTF-8, because no store could hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected text in UTF-8, got {visible.line(text)}") from None


def _cross_check(s: Settings) -> list[str]:
    problems = []
    if s.lease_seconds < 2 * s.heartbeat_seconds:
        problems.append(
            f"QMRUNNER_LEASE_SECONDS={s.lease_seconds:g} is under twice QMRUNNER_HEARTBEAT_SECONDS="
            f"{s.heartbeat_seconds:g}: one late heartbeat would make a healthy worker count as lost"
        )
    if s.scratch_soft_mib is not None and s.scratch_hard_mib is not None and s.scratch_soft_mib < s.scratch_hard_mib:
        problems.append(
            f"QMRUNNER_SCRATCH_SOFT_MIB={s.scratch_soft_mib} is below QMRUNNER_SCRATCH_HARD_MIB={s.scratch_hard_mib}: "
            "a step would be stopped as soon as it has started"
        )
    return problems
