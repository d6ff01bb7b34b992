"""What login node and pilots share: one file of settings, the folders that it names, and the environment of a pilot."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qmrunner import private, settings_file
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.settings import Settings
from qmrunner.slurm import batch
from qmrunner.slurm import options as sbatch
from qmrunner.store.session import Store

FILE = "qmrunner.env"
_PASSWORD_FILE = "QMRUNNER_STORE_PASSWORD_FILE"
_SETUP = "`qmrunner slurm setup FOLDER --store postgresql://USER@HOST/DATABASE` writes them into one file"


@dataclass(frozen=True, slots=True)
class Site:
    """How pilots of a store are started: job name, folder of their logs, options of sbatch, environment."""

    name: str
    logs: Path
    options: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def cores(self) -> int:
        """Processors of a pilot."""
        lines = batch.SCRIPT.read_text().splitlines()
        own = [word for line in lines if line.startswith("#SBATCH ") for word in line.split()[1:]]
        return sbatch.cores([*own, *self.options])


def of(settings: Settings, store: Store, more: str | None = None) -> Site:
    """The site that these settings describe; `more` are further options of sbatch. Raises UsageError
    `slurm_not_set_up` for settings with which a pilot would not find the store or its files, and `sbatch_option` for
    options that it cannot have."""
    lacking = [
        name
        for name, set_ in (
            ("QMRUNNER_STORE_URL of a PostgreSQL server", not store.is_sqlite),
            ("QMRUNNER_ARTIFACTS", settings.artifacts is not None),
            ("QMRUNNER_JOBS", settings.jobs is not None),
        )
        if not set_
    ]
    if lacking or settings.jobs is None:
        raise UsageError(
            "slurm_not_set_up",
            f"pilots share store and files with this machine through settings, and these are not set: "
            f"{', '.join(lacking)}",
            remedy=f"{_SETUP}; then export QMRUNNER_CONFIG=FOLDER/{FILE}",
        )
    try:
        options = (*shlex.split(settings.sbatch_options or ""), *shlex.split(more or ""))
    except ValueError as problem:
        raise UsageError(
            "usage", f"--sbatch: {problem}", remedy="give options of sbatch, such as '--time=1-0 --mem=32G'"
        ) from None
    sbatch.check(options)
    logs = settings.jobs.parent / "pilots"
    private.make_root(logs, settings.group_access, "QMRUNNER_JOBS")
    identity = hashlib.sha256(store.url.encode()).hexdigest()[:6]
    return Site(f"qmrunner-{identity}", logs, options, _environment(settings))


def _environment(settings: Settings) -> dict[str, str]:
    """This environment, completed so that a pilot, whose home is on its node, reads the settings that are read here."""
    made = dict(os.environ)
    file = settings.home / FILE
    if not made.get("QMRUNNER_CONFIG") and file.is_file():
        made["QMRUNNER_CONFIG"] = str(file)
    elif made.get("QMRUNNER_CONFIG"):
        made["QMRUNNER_CONFIG"] = os.path.abspath(os.path.expanduser(made["QMRUNNER_CONFIG"]))
    made.setdefault("PILOT_PROGRAM", str(_program()))
    return made


def _program() -> Path:
    """The path of this program, for a node whose PATH may lack it."""
    called = Path(sys.argv[0])
    return (
        called.absolute()
        if called.name == "qmrunner" and called.is_file()
        else Path(sys.executable).parent / "qmrunner"
    )


def file_in(folder: Path) -> Path:
    """The file of settings in a shared folder."""
    return Path(os.path.abspath(os.path.expanduser(folder))) / FILE


def set_up(folder: Path, store_url: str) -> Path:
    """Make the shared folder with its parts and its file of settings; returns the file. An existing file keeps every
    line, and gets those that it lacks. Raises UsageError `slurm_other_store` for a file that names another store,
    NotReadyError `folder_not_private` where other users could put a program or a file of settings, and
    `folder_unwritable`."""
    file = file_in(folder)
    folder = file.parent
    wanted = {
        "QMRUNNER_STORE_URL": store_url,
        "QMRUNNER_ARTIFACTS": f"file://{folder}/artifacts",
        "QMRUNNER_JOBS": f"{folder}/jobs",
        "QMRUNNER_LOGS": f"{folder}/logs",
    }
    if password := os.environ.get(_PASSWORD_FILE):
        wanted[_PASSWORD_FILE] = os.path.abspath(os.path.expanduser(password))
    try:
        access = os.environ.get("QMRUNNER_GROUP_ACCESS", "off")
        access = access if access in private.ACCESS else "off"
        for name in ("", "artifacts", "jobs", "logs", "pilots"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            private.make_root(folder / name, access, "FOLDER")
        private.check_own(file, access, "FOLDER")
        there = file.read_text() if file.exists() else ""
        known = {line.partition("=")[0].strip(): line.partition("=")[2] for line in there.splitlines()}
        if settings_file.plain(known.get("QMRUNNER_STORE_URL", store_url)) != store_url:
            raise UsageError(
                "slurm_other_store", f"{file} names another store", remedy="edit that line, or give another folder"
            )
        lines = [f"{name}={value}\n" for name, value in wanted.items() if name not in known]
        if there and not there.endswith("\n"):
            lines.insert(0, "\n")
        # Only for its owner: the URL may hold a password.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "a") as out:
            out.write("".join(lines))
    except OSError as problem:
        raise NotReadyError(
            "folder_unwritable", f"{folder} cannot be set up", evidence=str(problem),
            remedy="give a folder on the shared filesystem that you may write",
        ) from None  # fmt: skip
    return file
