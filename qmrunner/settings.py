"""Settings: environment variables `QMRUNNER_*`, over a file, over defaults. Typed, and checked all at once.

Every field is one variable: `lease_seconds` is `QMRUNNER_LEASE_SECONDS`. The file (`QMRUNNER_CONFIG`, else
`qmrunner.env` in the home) has one `QMRUNNER_NAME=value` a line. Unknown names are refused with the nearest known one,
and all problems are reported together. Plain dataclasses: pydantic-settings costs 0.15 s at every start of the
command line (docs/decisions.md).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from qmrunner import masking, private
from qmrunner.errors import UsageError, nearest
from qmrunner.model import labels, visible

PREFIX = "QMRUNNER_"
# Passwords that libraries take from the environment.
_SECRETS = ("PGPASSWORD", "REDISCLI_AUTH", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# Read by parts of the program that run before or beside the settings.
RESERVED = frozenset({"CONFIG", "ATTEMPT"})


def _integer(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"expected a whole number, got {text!r}") from None
        if value < least:
            raise ValueError(f"expected at least {least}, got {value}")
        return value

    return read


def _seconds(least: float, unit: str = "seconds") -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"expected a number of {unit}, got {text!r}") from None
        if not least <= value < 1e9:
            raise ValueError(f"expected from {least:g} to 1e9 {unit}, got {text}")
        return value

    return read


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            near = nearest(text, words)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"expected one of {', '.join(words)}, got {text!r}{hint}")
        return text

    return read


def _labels(text: str) -> tuple[str, ...]:
    try:
        return labels.check(text.split(","))
    except ValueError as problem:
        raise ValueError(f"expected labels with commas between them: {problem}") from None


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(_path(part) for part in text.split(":") if part)


def _text(text: str) -> str:
    return text


def _url(*schemes: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            known = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"expected a URL that starts with {known}, got {masking.masked_url(text)!r}")
        return text

    return read


# A place for files: an absolute folder other than the root, or a bucket with or without a prefix.
_PLACE = re.compile(r"file:///[^?#]*[^?#/][^?#]*|s3://[a-z0-9][a-z0-9._-]{1,62}(/[^?#]*)?")


def _place(text: str) -> str:
    if not _PLACE.fullmatch(text):
        seen = masking.masked_url(text)
        raise ValueError(f"expected file:///absolute/folder or s3://bucket/prefix, got {seen!r}")
    return text


def _setting(read: Callable[[str], Any], about: str, **kw: Any) -> Any:
    return field(metadata={"read": read, "about": about}, **kw)


@dataclass(frozen=True)
class Settings:
    """All settings, with their defaults. None means: derived from the machine or from `home`."""

    home: Path = _setting(_path, "state of this installation", default_factory=lambda: _path("qmrunner-data"))
    store_url: str | None = _setting(_url("sqlite", "postgresql"), "store; default sqlite in home", default=None)
    queue_url: str | None = _setting(_url("sqlite", "redis", "rediss"), "queue; default sqlite in home", default=None)
    store_password_file: Path | None = _setting(_path, "file with the password of the store", default=None)
    queue_password_file: Path | None = _setting(_path, "file with the password of the queue", default=None)
    jobs: Path | None = _setting(_path, "inputs and results; default home/jobs", default=None)
    artifacts: str | None = _setting(
        _place, "where files reach other machines; unset: the folder of jobs, shared or not", default=None
    )
    checkpoint_seconds: float = _setting(
        _seconds(0), "least time between two uploads of a running step's checkpoint", default=300.0
    )
    scratch: Path | None = _setting(_path, "working files; default home/scratch", default=None)
    logs: Path | None = _setting(_path, "engine logs; default home/logs", default=None)
    group_access: str = _setting(
        _choice(*private.ACCESS),
        "what the group may do with all that is made: off, read, write",
        default="off",
    )
    worker_name: str = _setting(_text, "name of this worker", default_factory=socket.gethostname)
    labels: tuple[str, ...] = _setting(_labels, "labels of this worker, comma separated", default=())
    slots: int | None = _setting(_integer(1), "attempts at a time; default one per core", default=None)
    cores: int | None = _setting(_integer(1), "cores to use; default what affinity and quota allow", default=None)
    memory_mib: int | None = _setting(_integer(64), "memory to use; default what the machine allows", default=None)
    scratch_soft_mib: int | None = _setting(
        _integer(0), "free scratch below which nothing starts; default 5 %, 2048 at most", default=None
    )
    scratch_hard_mib: int | None = _setting(
        _integer(0), "free scratch below which the greediest step is stopped; default a quarter of that", default=None
    )
    ballast_mib: int = _setting(_integer(0), "size of a file that is given up when the home's disk is full", default=16)
    heartbeat_seconds: float = _setting(_seconds(0.05), "between two beats of a worker", default=4.0)
    lease_seconds: float = _setting(_seconds(0.2), "stand-still after which a worker elsewhere is lost", default=18.0)
    stop_grace_seconds: float = _setting(_seconds(0.5), "from SIGTERM to the end of everything", default=20.0)
    outage_grace_seconds: float = _setting(_seconds(0), "computing on without the store", default=3600.0)
    adoption_seconds: float = _setting(_seconds(0), "a guardian waits this long for a new consumer", default=600.0)
    max_retries: int = _setting(_integer(0), "automatic retries of a failed step", default=2)
    retry_delay_seconds: float = _setting(_seconds(0), "before the first retry; doubles each time", default=5.0)
    poison_deaths: int = _setting(_integer(1), "a step that took its worker down this often is held", default=3)
    hang_watch: str = _setting(_choice("on", "off"), "end and retry steps that hang", default="on")
    hang_floor_seconds: float = _setting(
        _seconds(0), "silence after which a step with a stopped process is hung", default=60.0
    )
    hang_quiet_seconds: float = _setting(_seconds(0), "silence after which an idle step is hung", default=600.0)
    hang_busy_seconds: float = _setting(
        _seconds(0), "silence after which a step that only uses CPU is hung", default=21600.0
    )
    retention_days: float = _setting(_seconds(0, "days"), "days that scratch of failed steps is kept", default=7.0)
    log_retention_days: float = _setting(_seconds(0, "days"), "days that logs of ended jobs are kept", default=90.0)
    result_retention_days: float | None = _setting(
        _seconds(0, "days"), "days that results are kept; unset: ever", default=None
    )
    sweep_seconds: float = _setting(_seconds(1), "between two sweeps for leftovers", default=600.0)
    reuse: str = _setting(_choice("on", "off"), "take results of identical steps computed before", default="on")
    remedies: str = _setting(_choice("neutral", "all", "off"), "automatic changes to a failed step", default="neutral")
    confine: str = _setting(
        _choice("require", "auto", "off"),
        "confinement of engines by the kernel; require: refuse inputs from the network without it",
        default="auto",
    )
    confine_allow: tuple[Path, ...] = _setting(
        _paths, "folders and programs that confined engines may also read and execute, colon separated", default=()
    )
    log_level: str = _setting(_choice("debug", "info", "warning", "error"), "least severe event shown", default="info")
    api_host: str = _setting(_text, "address on which `serve` listens", default="127.0.0.1")
    api_port: int = _setting(_integer(0), "port of `serve`; 0 takes a free one", default=8642)
    api_max_body_mib: int = _setting(_integer(1), "largest request that `serve` reads", default=64)
    api_rate_per_minute: int = _setting(_integer(1), "requests of one client to `serve` in a minute", default=600)
    max_atoms: int | None = _setting(
        _integer(1), "largest molecule accepted; default 100 for `nmr`, 200 for `conformers`", default=None
    )
    nwchem: str | None = _setting(_text, "NWChem program", default=None)
    mpirun: str | None = _setting(_text, "MPI launcher", default=None)
    crest: str | None = _setting(_text, "CREST program", default=None)
    xtb: str | None = _setting(_text, "xTB program", default=None)

    @property
    def store(self) -> str:
        return self.store_url or f"sqlite:///{self.home / 'store.db'}"

    @property
    def queue(self) -> str:
        return self.queue_url or f"sqlite:///{self.home / 'queue.db'}"

    # Looked at once: a process must not change its mind about where its attempts are.
    @cached_property
    def scratch_root(self) -> Path:
        """In a folder that all users of the machine share: our own folder below it."""
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

    def programs(self) -> dict[str, str | None]:
        return {"nwchem": self.nwchem, "mpirun": self.mpirun, "crest": self.crest, "xtb": self.xtb}


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read, convert and check all settings. Raises UsageError that lists every problem found."""
    env = os.environ if environment is None else environment
    given = {name: value for name, value in env.items() if name.startswith(PREFIX)}
    problems: list[str] = []
    masking.know(_urls(given.items()), (env[name] for name in _SECRETS if env.get(name)))
    from_file = _read_file(given, problems)
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
                values[entry.name] = entry.metadata["read"](text)
            except ValueError as problem:
                problems.append(f"{name}: {problem}")
                refused.add(entry.name)
    for what in ("store", "queue"):
        problems += _take_password(what, values)
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
            remedy="correct the environment variables (or the file) named above",
        )
    return settings


def _urls(given: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The values that are URLs, or may be, right or mistyped: of names with a typing error, too."""
    for name, value in given:
        suspicious = "//" in value or "=" in value or ("@" in value and not value.startswith(("/", "~", ".")))
        if suspicious or name.endswith(("URL", "ARTIFACTS")):
            yield value.strip().strip("\"'")


def _refuse_undecodable(text: str) -> None:
    """Raise ValueError for bytes that are no UTF-8: no store could hold what is made of them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected text in UTF-8, got {visible.line(text)}") from None


def _take_password(what: str, values: dict[str, Any]) -> list[str]:
    """Put the password of `store` or `queue` from its file into its URL. What stands against that comes back."""
    path = values.get(f"{what}_password_file")
    if path is None:
        return []
    name, url = f"{PREFIX}{what.upper()}_PASSWORD_FILE", values.get(f"{what}_url") or ""
    scheme, _, rest = url.partition("://")
    place, slash, database = rest.partition("/")
    user, _, host = place.rpartition("@")
    if scheme in ("", "sqlite"):
        return [f"{name}: there is no server to use it with; set {PREFIX}{what.upper()}_URL"]
    if ":" in user:
        return [f"{name}: {PREFIX}{what.upper()}_URL has a password, too; remove one of them"]
    try:
        password = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        return [f"{name}: cannot be read ({problem})"]
    if not password:
        return [f"{name}: {path} is empty"]
    from urllib.parse import quote

    masking.know((), [password], also=True)
    values[f"{what}_url"] = f"{scheme}://{user}:{quote(password, safe='')}@{host}{slash}{database}"
    return []


def _cross_check(s: Settings) -> list[str]:
    problems = []
    if s.lease_seconds < 2 * s.heartbeat_seconds:
        problems.append(
            f"QMRUNNER_LEASE_SECONDS={s.lease_seconds:g} is under twice QMRUNNER_HEARTBEAT_SECONDS="
            f"{s.heartbeat_seconds:g}: one late beat would condemn a healthy worker"
        )
    if s.scratch_soft_mib is not None and s.scratch_hard_mib is not None and s.scratch_soft_mib < s.scratch_hard_mib:
        problems.append(
            f"QMRUNNER_SCRATCH_SOFT_MIB={s.scratch_soft_mib} is below QMRUNNER_SCRATCH_HARD_MIB={s.scratch_hard_mib}: "
            "what has just started would be stopped again"
        )
    return problems


def _read_file(given: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    named = given.get(f"{PREFIX}CONFIG")
    home = given.get(f"{PREFIX}HOME") or "qmrunner-data"
    path = _path(named) if named else _path(home) / "qmrunner.env"
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        if named:
            problems.append(f"{PREFIX}CONFIG: no file {path}")
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        problems.append(f"{path}: cannot be read ({problem})")
        return {}
    values: dict[str, str] = {}
    parted = (line.strip().partition("=") for line in text.splitlines())
    masking.know(_urls((name, value or name) for name, _, value in parted), also=True)
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().startswith(PREFIX):
            # Not the whole line: what is no setting may be a password.
            began = re.split(r"[^\w ]", line, maxsplit=1)[0].split()
            problems.append(f"{path}:{number}: expected {PREFIX}NAME=value, got {' '.join(began[:1])!r}…")
            continue
        values[name.strip()] = value.strip().strip("\"'")
    return values
