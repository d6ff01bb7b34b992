"""AsyncClient: the client for an event loop. `blocking.py` has the same without `await`."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self, Unpack

import httpx

from qmrunner.client import forms, table
from qmrunner.client.connect import session_of
from qmrunner.client.described import Jobs, Refusal, SomeRefusedError, joined, listed
from qmrunner.client.job import AsyncJob
from qmrunner.client.options import CommonOptions, MoleculeOptions, NmrOptions, checked, spelled_out
from qmrunner.client.refusals import error_of_line, fields_of, foreign_line
from qmrunner.client.session import Attempts, Session
from qmrunner.client.waiting import until_over
from qmrunner.client.wire import AsyncWire, Refused
from qmrunner.errors import QmrunnerError, UsageError

_PAGE = 500
_LINES = 200  # of one request: `POST /v1/jobs/many` takes 500
_PROGRAMS = ("nwchem", "xtb")  # for inputs of QCSchema
_NDJSON = {"Content-Type": "application/x-ndjson"}


class AsyncClient:
    """Jobs of a server, or of the local home.

    `where` is an address (``https://…``, with `token`), the folder of a home, or None: the home that the command line
    uses, QMRUNNER_HOME or ./qmrunner-data. `patience`: seconds for which a request is repeated while the server does
    not answer; waits and streams have no limit. `verify` is httpx's: an `ssl.SSLContext` for a private authority.
    """

    def __init__(
        self, where: str | os.PathLike[str] | None = None, *, token: str | None = None, patience: float = 60.0,
        verify: Any = True,
    ) -> None:  # fmt: skip
        self._session = session_of(AsyncWire, where, token, patience, verify)

    @classmethod
    def _over(cls, session: Session) -> Self:
        made = cls.__new__(cls)
        made._session = session
        return made

    async def close(self) -> None:
        """Close connections; a local server ends."""
        await self._session.wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @spelled_out(NmrOptions)
    async def submit_nmr(self, molecule: forms.Molecule, **options: Unpack[NmrOptions]) -> AsyncJob:
        """Predict 1H and 13C NMR shifts of a SMILES, a structure file, an RDKit Mol or ASE Atoms."""
        fields, files = forms.molecule(molecule)
        return await self._submit("nmr", {**checked(options, NmrOptions), **fields}, files)

    @spelled_out(MoleculeOptions)
    async def submit_search(self, molecule: forms.Molecule, **options: Unpack[MoleculeOptions]) -> AsyncJob:
        """Search conformers and rank them with xTB."""
        fields, files = forms.molecule(molecule)
        return await self._submit("conformers", {**checked(options, MoleculeOptions), **fields}, files)

    @spelled_out(CommonOptions)
    async def submit_deck(
        self, deck: str | os.PathLike[str], files: Iterable[str | os.PathLike[str]] = (),
        **options: Unpack[CommonOptions],
    ) -> AsyncJob:  # fmt: skip
        """Run an NWChem input: a path, or its text. `files` are placed next to it."""
        given = [forms.deck(deck), *forms.files(files)]
        return await self._submit("nwchem", checked(options, CommonOptions), given)

    @spelled_out(CommonOptions)
    async def submit_xtb(
        self, structure: forms.Molecule, args: Sequence[str] = (), files: Iterable[str | os.PathLike[str]] = (),
        **options: Unpack[CommonOptions],
    ) -> AsyncJob:  # fmt: skip
        """Run xTB with your own flags on a structure: `submit_xtb("water.xyz", ["--opt", "tight"])`."""
        return await self._program("xtb", structure, args, files, checked(options, CommonOptions))

    @spelled_out(CommonOptions)
    async def submit_crest(
        self, structure: forms.Molecule, args: Sequence[str] = (), files: Iterable[str | os.PathLike[str]] = (),
        **options: Unpack[CommonOptions],
    ) -> AsyncJob:  # fmt: skip
        """Run CREST with your own flags on a structure."""
        return await self._program("crest", structure, args, files, checked(options, CommonOptions))

    @spelled_out(CommonOptions)
    async def submit_qcschema(
        self, document: forms.Document, program: str | None = None, **options: Unpack[CommonOptions]
    ) -> AsyncJob:
        """Compute an AtomicInput or OptimizationInput: a dict, a path, or a model of QCElemental.

        `program` is nwchem or xtb; by default the one that knows the method. `job.result.qcschema` is the answer.
        """
        if program is not None and program not in _PROGRAMS:
            raise UsageError(
                "unknown_program", f"no program {program!r:.40} runs inputs of QCSchema here",
                remedy=f"choose one of {', '.join(_PROGRAMS)}",
            )  # fmt: skip
        given = checked(options, CommonOptions) | ({"program": program} if program else {})
        return await self._submit("qcschema", given, [forms.qcschema(document)])

    @spelled_out(NmrOptions)
    async def submit_many(
        self, molecules: Iterable[forms.Molecule | Mapping[str, Any]], *, kind: str = "nmr",
        names: Iterable[str] | None = None, skip_refused: bool = False, **options: Unpack[NmrOptions],
    ) -> AsyncJobs:  # fmt: skip
        """Submit one job for each molecule, in order; `kind` is nmr or conformers.

        An entry may be a mapping (a row of a table) with `smiles`, `name` and its own options; a DataFrame has rows.
        With the same `group`, the same molecules and options are the same jobs again, so a notebook's cell may run
        twice. Raises SomeRefusedError after all others were accepted; with `skip_refused` they are left out.
        """
        given = checked(options, table.KINDS.get(kind, NmrOptions))
        group = given.pop("group", None) or f"client-{uuid.uuid4().hex[:8]}"
        if "key" in given:
            raise UsageError("unknown_option", "submit_many makes a key for each job", remedy="use `group` instead")
        lines = table.lines(molecules, names, kind, given, group)
        found: dict[int, str | QmrunnerError] = {
            at: line for at, line in enumerate(lines) if isinstance(line, UsageError)
        }
        for first in range(0, len(lines), _LINES):
            await self._send_lines(lines[first : first + _LINES], first, found)
        refused = [Refusal(at, error) for at, error in sorted(found.items()) if isinstance(error, QmrunnerError)]
        accepted = {at: job_id for at, job_id in found.items() if isinstance(job_id, str)}
        rows = {row["id"]: row for row in await self._rows({"group": group}, None)} if accepted else {}
        jobs = []
        for at in sorted(accepted):
            row = rows.get(accepted[at])  # None: the entry named another group
            jobs.append(await self.job(accepted[at]) if row is None else AsyncJob(self._session, row))
        made = AsyncJobs(self, jobs, refused=refused)
        if refused and not skip_refused:
            raise SomeRefusedError(refused, made)
        return made

    async def job(self, job_id: str) -> AsyncJob:
        """A job by its id. Raises NotFoundError `job_unknown`."""
        if not (isinstance(job_id, str) and job_id.isascii() and job_id.isalnum()):
            raise UsageError("bad_id", f"{job_id!r:.40} is no id of a job", remedy="`client.jobs()` lists them")
        return await AsyncJob(self._session, {"id": job_id, "kind": "", "state": ""}).refresh()

    async def jobs(self, filter: str = "", *, limit: int | None = 1000) -> AsyncJobs:
        """Jobs that meet a filter, newest first: `state:failed group:batch7 since:7d text`, as on the pages."""
        if limit is not None and limit < 1:
            raise UsageError("bad_limit", f"the limit is {limit}", remedy="give a number above 0, or None for all jobs")
        rows = await self._rows({"q": filter} if filter else {}, None if limit is None else limit + 1)
        jobs = [AsyncJob(self._session, row) for row in rows[:limit]]
        return AsyncJobs(self, jobs, more=limit is not None and len(rows) > limit)

    async def wait(
        self, jobs: AsyncJob | Sequence[AsyncJob], *, progress: bool = False, timeout: float | None = None
    ) -> AsyncJobs:
        """Wait until all jobs have ended or are held, through outages. Jobs that failed are returned as they are.

        Raises NotReadyError `wait_timeout`.
        """

        waited = listed(jobs, AsyncJob)

        async def look(notice: Callable[[QmrunnerError], None]) -> None:
            await self._renew([job for job in waited if not job.is_over], notice)

        if waited:
            await until_over(self._session, waited, look, progress=progress, timeout=timeout)
        return AsyncJobs(self, waited)

    async def _renew(self, jobs: Sequence[AsyncJob], notice: Callable[[QmrunnerError], None]) -> None:
        """Look at jobs: at those of one group with one request."""
        groups = {job.data.get("group") for job in jobs}
        (group,) = groups if len(groups) == 1 else (None,)
        if group is None or len(jobs) < 3:
            for job in jobs:
                await job._look(notice)
            return
        rows = {row["id"]: row for row in await self._rows({"group": group}, None, notice)}
        for job in jobs:
            job.data = rows.get(job.id, job.data)

    async def _rows(
        self, params: Mapping[str, str], most: int | None, notice: Callable[[QmrunnerError], None] | None = None
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        more: dict[str, Any] = {"limit": min(_PAGE, most or _PAGE)}
        while True:
            found = await self._session.json(
                "GET", "/v1/jobs", params={**params, **more}, forever=notice is not None, notice=notice
            )
            rows += found["jobs"]
            if found["next"] is None or not found["jobs"] or (most is not None and len(rows) >= most):
                return rows if most is None else rows[:most]
            more["cursor"] = found["next"]

    async def _program(
        self, kind: str, structure: forms.Molecule, args: Sequence[str], files: Iterable[str | os.PathLike[str]],
        options: dict[str, Any],
    ) -> AsyncJob:  # fmt: skip
        if isinstance(args, str):
            raise UsageError(
                "bad_option", "the flags are one text", evidence=args[:80],
                remedy=f"give a list of words: {args.split()!r}"[:200],
            )  # fmt: skip
        given = [forms.structure(structure), *forms.files(files)]
        return await self._submit(kind, {**options, "args": forms.arguments(structure, args)}, given)

    async def _submit(self, kind: str, fields: dict[str, Any], files: Sequence[forms.File]) -> AsyncJob:
        # A repeated request makes no second job: the key is the same in every try.
        headers = {"Idempotency-Key": str(fields.pop("key", None) or uuid.uuid4().hex)}
        found = await self._session.json("POST", "/v1/jobs", headers=headers, **forms.body(kind, fields, files))
        return await self.job(str(found["id"]))

    async def _send_lines(self, lines: Sequence[table.Line], first: int, found: dict[int, str | QmrunnerError]) -> None:
        """Submit until each line has an answer: after a lost connection those without one are sent again."""
        attempts = Attempts(self._session, self._session.patience, None)
        while left := [at for at in range(len(lines)) if first + at not in found]:
            body = b"".join(json.dumps(lines[at]).encode() + b"\n" for at in left)
            later: QmrunnerError | None = None
            try:
                stream = self._session.wire.stream("POST", "/v1/jobs/many", content=body, headers=_NDJSON)
                async with aclosing(stream) as answers:
                    async for text in answers:
                        answer = fields_of(text, self._session.where)
                        place = answer["line"]
                        if type(place) is not int or not 1 <= place <= len(left):
                            raise foreign_line(text, self._session.where)
                        at = first + left[place - 1]
                        if "id" in answer:
                            found[at] = str(answer["id"])
                            attempts.good()
                            continue
                        problem, passing = error_of_line(answer["error"])
                        if passing:
                            later = problem
                        else:
                            found[at] = problem
                if later is not None:
                    await attempts.after(later)
            except (httpx.TransportError, Refused) as lost:
                await attempts.after(lost)


class AsyncJobs(Jobs[AsyncJob]):
    """A list of jobs that can be waited for together."""

    def __init__(
        self, client: AsyncClient, jobs: Sequence[AsyncJob] = (), *, more: bool = False,
        refused: Sequence[Refusal] = (),
    ) -> None:  # fmt: skip
        super().__init__(jobs, more=more, refused=refused)
        self._client = client

    def _of(self, jobs: Sequence[AsyncJob]) -> AsyncJobs:
        return AsyncJobs(self._client, jobs)

    async def wait(self, *, progress: bool = False, timeout: float | None = None) -> AsyncJobs:
        """As `AsyncClient.wait`."""
        await self._client.wait(self, progress=progress, timeout=timeout)
        return self

    async def shifts(self) -> Any:
        """The shifts of all jobs that succeeded, in one DataFrame with `job`, `name` and `structure` before them."""
        return joined([(job, await job.result) for job in self if job.state == "succeeded"])
