"""The application context: settings, store, queue, artifacts, workflows and engines of one process.

Nothing connects at import. `build` is cheap; the queue, the probes and the schema check run on first use.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qmrunner import private
from qmrunner.errors import NotReadyError
from qmrunner.model.jobs import Job, Plan, Step
from qmrunner.settings import Settings
from qmrunner.settings import load as load_settings
from qmrunner.store import artifacts as artifact_store
from qmrunner.store import schema
from qmrunner.store.session import Store

if TYPE_CHECKING:
    from qmrunner.artifacts.files import Artifacts
    from qmrunner.engines.base import Engine, Installed
    from qmrunner.queue import Queue


class Planner:
    """Plans each job by the workflow of its kind: the store's `Planner`."""

    def __init__(self, engine: Callable[[str], Engine]) -> None:
        self._engine = engine

    def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
        """The workflow's plan, with every step's demand filled in by its engine's rule."""
        from qmrunner import workflows

        plan = workflows.workflow(job.kind).plan(job, steps)
        sized = tuple(
            spec if spec.demand else replace(spec, demand=self._engine(spec.engine).demand(spec.task, spec.params))
            for spec in plan.add
        )
        return replace(plan, add=sized)

    def waits_for_all(self, job: Job, stage: str) -> bool:
        from qmrunner import workflows

        return workflows.workflow(job.kind).waits_for_all(job, stage)


class App:
    """Everything one process needs, made on first use and closed together."""

    def __init__(self, settings: Settings, *, busy_seconds: float = 30.0) -> None:
        self.settings = settings
        self._busy_seconds = busy_seconds

    @cached_property
    def store(self) -> Store:
        s = self.settings
        # One per attempt thread, plus heartbeat, failure detector, sweeps and disk watch; `serve` uses twelve.
        threads = max(12, (s.slots or len(os.sched_getaffinity(0))) + 4)
        return Store(s.store, busy_seconds=self._busy_seconds, connections=threads)

    def open_store(self, *, create: bool) -> Store:
        """The store, after a check of its schema. With `create` the home and the schema are created if missing."""
        store = self.store  # refuses an unsafe filesystem before anything is created
        if create:
            self.make_home()
        else:
            self.existing_store()
        schema.require_current(store, create=create)
        return store

    def existing_store(self) -> Store:
        """The store, without a schema check. Raises NotReadyError if there is none; never creates one."""
        if self.store.path is not None and not self.store.path.exists():
            raise NotReadyError(
                "store_missing",
                f"there is no store at {self.store.path}",
                remedy="start `qmrunner run`, or submit a job, with the same QMRUNNER_HOME first",
            )
        return self.store

    @cached_property
    def queue(self) -> Queue:
        from qmrunner.queue import Queue

        return Queue(self.settings.queue, self.settings.run_root)

    @cached_property
    def artifacts(self) -> Artifacts | None:
        """The artifact store; None if machines share the folder of jobs. Raises UsageError for a wrong setting."""
        if self.settings.artifacts is None:
            return None
        from qmrunner.artifacts.blobs import connect
        from qmrunner.artifacts.files import Artifacts

        return Artifacts(connect(self.settings.artifacts), self.store)

    def verify_artifacts(self, *, at_start: bool = False) -> None:
        """Verify that this machine uses the same artifact store as the other machines of the job store. The first use
        of an artifact store, and every start of a worker, sends the files of jobs that were submitted before.

        Raises NotReadyError `artifacts_not_set`, and the errors of `Artifacts.verify_pairing`.
        """
        if self.artifacts is not None:
            first = self.artifacts.verify_pairing()
            if first or at_start:
                from qmrunner.artifacts import earlier_jobs

                earlier_jobs.send(self.artifacts, self.store, self.settings.jobs_root, first=first)
            return
        with self.store.read() as connection:
            used = artifact_store.identity(connection) is not None
        if used:
            raise NotReadyError(
                "artifacts_not_set",
                "the machines of this store exchange files through an artifact store, and none is set here",
                remedy="set QMRUNNER_ARTIFACTS as on the other machines",
            )

    def send_unsent(self, job_ids: Collection[str]) -> None:
        """Send what this machine has of the files of jobs that are held for them, and resume those. Raises
        QmrunnerError."""
        if self.artifacts is None:
            return
        from qmrunner.artifacts import earlier_jobs
        from qmrunner.store import unsent_jobs

        with self.store.read() as connection:
            held = [job_id for job_id in unsent_jobs.held(connection) if job_id in job_ids]
        for job_id in held:
            earlier_jobs.send_job(self.artifacts, self.store, self.settings.jobs_root, job_id)

    def engine(self, name: str) -> Engine:
        from qmrunner import engines

        return engines.get(name)

    def installed(self, name: str) -> Installed:
        """This engine as installed on this machine; probed once per program file."""
        from qmrunner.host.probe import probe

        return probe(self.engine(name), self.settings.programs())

    @cached_property
    def planner(self) -> Planner:
        return Planner(self.engine)

    def located(self, engine: str) -> bool:
        """Whether the programs of this engine are installed here, or set."""
        return self.engine(engine).locate(self.settings.programs(), shutil.which).path is not None

    def make_home(self) -> None:
        """Create the private folders of this installation. Raises NotReadyError that names the folder:
        `home_unwritable`, or `folder_not_private` if other users could write to it."""
        s = self.settings
        for name, folder in s.roots():
            try:
                private.make_root(folder, s.group_access, name)
            except OSError as error:
                raise NotReadyError(
                    "home_unwritable",
                    f"cannot create {folder}",
                    evidence=str(error),
                    remedy=f"run `chown {os.geteuid()}:{os.getegid()} {_existing(folder)}`, or set QMRUNNER_HOME",
                ) from None
            if not os.access(folder, os.W_OK | os.X_OK):
                raise NotReadyError(
                    "home_unwritable",
                    f"{folder} is not writable for user id {os.geteuid()}",
                    remedy=f"run `chown -R {os.geteuid()}:{os.getegid()} {folder}`, or set QMRUNNER_HOME",
                )
        private.close_to_others(s.home, s.group_access)

    def home_id(self) -> str:
        """The id of this home. The holder of the home's lock succeeds every earlier worker of it."""
        path = self.settings.home / "home.id"
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(descriptor, "w") as file:
            file.write(uuid.uuid4().hex)
        return path.read_text().strip()

    def close(self) -> None:
        if self.__dict__.get("artifacts") is not None:
            self.artifacts.blobs.close()  # type: ignore[union-attr]
        if "queue" in self.__dict__:
            self.queue.close()
        if "store" in self.__dict__:
            self.store.close()


def build(settings: Settings | None = None, *, busy_seconds: float = 30.0) -> App:
    """The context of a command or of a process of the daemon. Also sets the umask, so that all its files are
    private."""
    settings = settings or load_settings()
    private.restrict(settings.group_access)
    return App(settings, busy_seconds=busy_seconds)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
