"""Client and Job: the same as AsyncClient and AsyncJob, without `await`. Also for notebooks, whose loop is running.

Each method runs the coroutine of the same name over a wire that blocks; `tests/client/test_interface.py` compares the
two.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from qmrunner.client import forms
from qmrunner.client.aio import AsyncClient
from qmrunner.client.connect import session_of
from qmrunner.client.described import Comparison, Described, Jobs, LogLine, Refusal, SomeRefusedError, joined, listed
from qmrunner.client.job import AsyncJob
from qmrunner.client.options import CommonOptions, MoleculeOptions, NmrOptions, spelled_out
from qmrunner.client.result import Result
from qmrunner.client.session import Event
from qmrunner.client.wire import BlockingWire, iterate, run
from qmrunner.errors import QmrunnerError

if TYPE_CHECKING:
    import pandas


class Job(Described):
    """A job on the server. Its attributes are as of the last answer; `refresh` and `wait` renew them."""

    def __init__(self, own: AsyncJob) -> None:
        self._own = own

    @property
    def data(self) -> dict[str, Any]:  # type: ignore[override]
        """The JSON of the job."""
        return self._own.data

    @property
    def _result(self) -> Result | None:  # type: ignore[override]
        if self.state != "succeeded":
            return None
        try:
            return self.result
        except QmrunnerError:  # a notebook shows the job all the same
            return None

    def refresh(self) -> Job:
        """Ask the server for the state of the job."""
        run(self._own.refresh())
        return self

    def wait(self, *, progress: bool = False, timeout: float | None = None, check: bool = True) -> Job:
        """Wait until the job has ended or is held, through outages of the server; with `progress` show a bar.

        Raises JobEndedError unless the job succeeded (not with `check=False`), NotReadyError `wait_timeout` after
        `timeout` seconds: the job keeps running then.
        """
        run(self._own.wait(progress=progress, timeout=timeout, check=check))
        return self

    def why(self) -> dict[str, Any]:
        """What happens or went wrong: `summary`, `code`, `evidence`, `remedy`, `attempts`, as `qmrunner why`."""
        return run(self._own.why())

    @property
    def result(self) -> Result:
        """The result, loaded once. Raises NotReadyError `no_result` unless the job has succeeded."""
        return run(self._own.result)

    def logs(self, step: str | None = None, *, follow: bool = False) -> Iterator[LogLine]:
        """Lines of the engines' output, step by step; with `follow` until the job is over, each line once.

        With `follow` all attempts are printed, else the newest. Steps that run side by side come one after the other.
        """
        return iterate(self._own.logs(step, follow=follow))

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """State changes of the job, oldest first; with `follow` until the job ends, each once."""
        return iterate(self._own.events(follow=follow))

    def files(self) -> dict[str, int]:
        """Names and sizes in bytes of the files that the job has published so far."""
        return run(self._own.files())

    def file(self, name: str) -> bytes:
        """The content of a published file of at most 256 MiB. Raises NotFoundError `file_unknown`."""
        return run(self._own.file(name))

    def download(self, folder: str | Path) -> list[Path]:
        """Write all published files, of any size, below `folder`; returns their paths. Existing files are replaced."""
        return run(self._own.download(folder))

    def compare(self, peaks: str, nucleus: str | None = None) -> Comparison:
        """Compare the shifts with measured peaks, a list as in a paper or JCAMP-DX; see docs/howto/measured-peaks.

        `frame` of the answer has one row for each signal.
        """
        return run(self._own.compare(peaks, nucleus))

    def cancel(self) -> Job:
        """Cancel the job."""
        run(self._own.cancel())
        return self

    def retry(self, *, allow_altering: bool = False) -> Job:
        """Run the unsuccessful steps of a failed or cancelled job again."""
        run(self._own.retry(allow_altering=allow_altering))
        return self

    def hold(self) -> Job:
        """Start no more steps of the job."""
        run(self._own.hold())
        return self

    def release(self) -> Job:
        """Release a held job."""
        run(self._own.release())
        return self


class Client:
    """Jobs of a server, or of the local home.

    `where` is an address (``https://…``, with `token`), the folder of a home, or None: the home that the command line
    uses, QMRUNNER_HOME or ./qmrunner-data. `patience`: seconds for which a request is repeated while the server does
    not answer; waits and streams have no limit. `verify` is httpx's: an `ssl.SSLContext` for a private authority.
    """

    def __init__(
        self, where: str | os.PathLike[str] | None = None, *, token: str | None = None, patience: float = 60.0,
        verify: Any = True,
    ) -> None:  # fmt: skip
        self._own = AsyncClient._over(session_of(BlockingWire, where, token, patience, verify))

    def close(self) -> None:
        """Close connections; a local server ends."""
        run(self._own.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @spelled_out(NmrOptions)
    def submit_nmr(self, molecule: forms.Molecule, **options: Unpack[NmrOptions]) -> Job:
        """Predict 1H and 13C NMR shifts of a SMILES, a structure file, an RDKit Mol or ASE Atoms."""
        return Job(run(self._own.submit_nmr(molecule, **options)))

    @spelled_out(MoleculeOptions)
    def submit_search(self, molecule: forms.Molecule, **options: Unpack[MoleculeOptions]) -> Job:
        """Search conformers and rank them with xTB."""
        return Job(run(self._own.submit_search(molecule, **options)))

    @spelled_out(CommonOptions)
    def submit_deck(
        self, deck: str | os.PathLike[str], files: Iterable[str | os.PathLike[str]] = (),
        **options: Unpack[CommonOptions],
    ) -> Job:  # fmt: skip
        """Run an NWChem input: a path, or its text. `files` are placed next to it."""
        return Job(run(self._own.submit_deck(deck, files, **options)))

    @spelled_out(CommonOptions)
    def submit_xtb(
        self, structure: forms.Molecule, args: Sequence[str] = (), files: Iterable[str | os.PathLike[str]] = (),
        **options: Unpack[CommonOptions],
    ) -> Job:  # fmt: skip
        """Run xTB with your own flags on a structure: `submit_xtb("water.xyz", ["--opt", "tight"])`."""
        return Job(run(self._own.submit_xtb(structure, args, files, **options)))

    @spelled_out(CommonOptions)
    def submit_crest(
        self, structure: forms.Molecule, args: Sequence[str] = (), files: Iterable[str | os.PathLike[str]] = (),
        **options: Unpack[CommonOptions],
    ) -> Job:  # fmt: skip
        """Run CREST with your own flags on a structure."""
        return Job(run(self._own.submit_crest(structure, args, files, **options)))

    @spelled_out(CommonOptions)
    def submit_qcschema(
        self, document: forms.Document, program: str | None = None, **options: Unpack[CommonOptions]
    ) -> Job:
        """Compute an AtomicInput or OptimizationInput: a dict, a path, or a model of QCElemental.

        `program` is nwchem or xtb; by default the one that knows the method. `job.result.qcschema` is the answer.
        """
        return Job(run(self._own.submit_qcschema(document, program, **options)))

    @spelled_out(NmrOptions)
    def submit_many(
        self, molecules: Iterable[forms.Molecule | Mapping[str, Any]], *, kind: str = "nmr",
        names: Iterable[str] | None = None, skip_refused: bool = False, **options: Unpack[NmrOptions],
    ) -> JobList:  # fmt: skip
        """Submit one job for each molecule, in order; `kind` is nmr or conformers.

        An entry may be a mapping (a row of a table) with `smiles`, `name` and its own options; a DataFrame has rows.
        With the same `group`, the same molecules and options are the same jobs again, so a notebook's cell may run
        twice. Raises SomeRefusedError after all others were accepted; with `skip_refused` they are left out.
        """
        try:
            found = run(self._own.submit_many(molecules, kind=kind, names=names, skip_refused=skip_refused, **options))
        except SomeRefusedError as refused:
            accepted = [Job(job) for job in refused.jobs if isinstance(job, AsyncJob)]
            raise SomeRefusedError(refused.refused, self._list(accepted)) from None
        return self._list([Job(job) for job in found], refused=found.refused)

    def job(self, job_id: str) -> Job:
        """A job by its id. Raises NotFoundError `job_unknown`."""
        return Job(run(self._own.job(job_id)))

    def jobs(self, filter: str = "", *, limit: int | None = 1000) -> JobList:
        """Jobs that meet a filter, newest first: `state:failed group:batch7 since:7d text`, as on the pages."""
        found = run(self._own.jobs(filter, limit=limit))
        return self._list([Job(job) for job in found], more=found.more)

    def wait(self, jobs: Job | Sequence[Job], *, progress: bool = False, timeout: float | None = None) -> JobList:
        """Wait until all jobs have ended or are held, through outages. Jobs that failed are returned as they are.

        Raises NotReadyError `wait_timeout`.
        """
        waited = listed(jobs, Job)
        run(self._own.wait([job._own for job in waited], progress=progress, timeout=timeout))
        return self._list(waited)

    def _list(self, jobs: Sequence[Job], *, more: bool = False, refused: Sequence[Refusal] = ()) -> JobList:
        return JobList(self, jobs, more=more, refused=refused)


class JobList(Jobs[Job]):
    """A list of jobs that can be waited for together."""

    def __init__(
        self, client: Client, jobs: Sequence[Job] = (), *, more: bool = False, refused: Sequence[Refusal] = ()
    ) -> None:
        super().__init__(jobs, more=more, refused=refused)
        self._client = client

    def _of(self, jobs: Sequence[Job]) -> JobList:
        return self._client._list(jobs)

    def wait(self, *, progress: bool = False, timeout: float | None = None) -> JobList:
        """As `Client.wait`."""
        self._client.wait(self, progress=progress, timeout=timeout)
        return self

    def shifts(self) -> pandas.DataFrame:
        """The shifts of all jobs that succeeded, in one DataFrame with `job`, `name` and `structure` before them."""
        return joined([(job, job.result) for job in self if job.state == "succeeded"])
