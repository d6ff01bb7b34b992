"""One job of an AsyncClient. `blocking.py` has the same without `await`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qmrunner.client import result as results
from qmrunner.client.described import Comparison, Described, LogLine
from qmrunner.client.refusals import JobEndedError
from qmrunner.client.result import Result
from qmrunner.client.session import Event, Session
from qmrunner.client.waiting import until_over
from qmrunner.client.wire import Sink
from qmrunner.errors import QmrunnerError

_PIECE = 1 << 20
_STARTED = frozenset({"running", "succeeded", "failed", "cancelled"})


class AsyncJob(Described):
    """A job on the server. Its attributes are as of the last answer; `refresh` and `wait` renew them."""

    def __init__(self, session: Session, data: dict[str, Any]) -> None:
        self._session = session
        self._path = f"/v1/jobs/{quote(str(data['id']), safe='')}"
        self.data = data
        self._result: Result | None = None

    async def refresh(self) -> AsyncJob:
        """Ask the server for the state of the job."""
        await self._look(None)
        return self

    async def wait(self, *, progress: bool = False, timeout: float | None = None, check: bool = True) -> AsyncJob:
        """Wait until the job has ended or is held, through outages of the server; with `progress` show a bar.

        Raises JobEndedError unless the job succeeded (not with `check=False`), NotReadyError `wait_timeout` after
        `timeout` seconds: the job keeps running then.
        """
        await until_over(self._session, [self], self._look, progress=progress, timeout=timeout)
        if check and self.state != "succeeded":
            raise JobEndedError(self.id, self.state, await self.why())
        return self

    async def why(self) -> dict[str, Any]:
        """What happens or went wrong: `summary`, `code`, `evidence`, `remedy`, `attempts`, as `qmrunner why`."""
        return await self._session.json("GET", f"{self._path}/why", forever=True)

    @property
    async def result(self) -> Result:
        """The result, loaded once. Raises NotReadyError `no_result` unless the job has succeeded."""
        if self._result is None:
            self._result = await results.load(self._session, self.id)
        return self._result

    async def logs(self, step: str | None = None, *, follow: bool = False) -> AsyncGenerator[LogLine]:
        """Lines of the engines' output, step by step; with `follow` until the job is over, each line once.

        With `follow` all attempts are printed, else the newest. Steps that run side by side come one after the other.
        """
        done: set[str] = set()
        while True:
            over = not follow or self.is_over
            waiting = [name for name in await self._steps(step, started=not over) if name not in done]
            for name in waiting:
                done.add(name)
                async with aclosing(self._followed(name) if follow else self._written(name)) as lines:
                    async for line in lines:
                        yield line
            if over and not waiting:
                return
            await self._look(None, forever=True)
            if not waiting and not self.is_over:
                await self._session.wire.sleep(0.5)

    async def events(self, *, follow: bool = False) -> AsyncGenerator[Event]:
        """State changes of the job, oldest first; with `follow` until the job ends, each once."""
        if follow:
            async with aclosing(self._session.follow(f"{self._path}/events/stream")) as events:
                async for event in events:
                    yield event
            return
        after = 0
        while rows := (await self._session.json("GET", f"{self._path}/events", params={"after": after}))["events"]:
            for row in rows:
                yield Event(row["event"], str(row["id"]), row)
            if rows[-1]["id"] <= after:
                return  # no server of qmrunner repeats events
            after = rows[-1]["id"]

    async def files(self) -> dict[str, int]:
        """Names and sizes in bytes of the files that the job has published so far."""
        found = await self._session.json("GET", f"{self._path}/files")
        return {row["name"]: row["bytes"] for row in found["files"]}

    async def file(self, name: str) -> bytes:
        """The content of a published file of at most 256 MiB. Raises NotFoundError `file_unknown`."""
        return (await self._session.ask("GET", f"{self._path}/files/{quote(name)}")).content

    async def download(self, folder: str | Path) -> list[Path]:
        """Write all published files, of any size, below `folder`; returns their paths. Existing files are replaced."""
        written = []
        root = Path(folder).expanduser().resolve()
        for name, size in (await self.files()).items():
            path = _below(root, name)
            if path is None:
                continue  # a name that leaves the folder or is none: no server of qmrunner sends it
            path.parent.mkdir(parents=True, exist_ok=True)
            await self._write(name, path, 2 * size + _PIECE)
            written.append(path)
        return written

    async def _write(self, name: str, path: Path, most: int) -> None:
        """Replace `path` once the whole file has arrived."""
        part = path.with_name(f".{uuid.uuid4().hex[:12]}.part")
        try:
            with part.open("wb") as file:
                await self._session.ask("GET", f"{self._path}/files/{quote(name)}", sink=Sink(file, most))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    async def compare(self, peaks: str, nucleus: str | None = None) -> Comparison:
        """Compare the shifts with measured peaks, a list as in a paper or JCAMP-DX; see docs/howto/measured-peaks.

        `frame` of the answer has one row for each signal.
        """
        form = {"jobs": [self.id], "text": peaks} | ({} if nucleus is None else {"nucleus": nucleus})
        return Comparison(await self._session.json("POST", "/v1/compare", json=form))

    async def cancel(self) -> AsyncJob:
        """Cancel the job."""
        return await self._act("cancel")

    async def retry(self, *, allow_altering: bool = False) -> AsyncJob:
        """Run the unsuccessful steps of a failed or cancelled job again."""
        return await self._act("retry", allow_altering=str(allow_altering).lower())

    async def hold(self) -> AsyncJob:
        """Start no more steps of the job."""
        return await self._act("hold")

    async def release(self) -> AsyncJob:
        """Release a held job."""
        return await self._act("release")

    async def _act(self, verb: str, **params: str) -> AsyncJob:
        await self._session.act(f"{self._path}/{verb}", params)
        self._result = None
        return await self.refresh()

    async def _look(self, notice: Callable[[QmrunnerError], None] | None, *, forever: bool = False) -> None:
        found = await self._session.json(
            "GET", self._path, params={"steps": "summary"}, forever=forever or notice is not None, notice=notice
        )
        self.data = found["job"]

    async def _steps(self, step: str | None, *, started: bool) -> list[str]:
        if step is not None:
            return [step]
        rows = (await self._session.json("GET", self._path, forever=True))["job"]["steps"]
        return [row["id"] for row in rows if row["attempt"] and (row["state"] in _STARTED or not started)]

    async def _followed(self, step: str) -> AsyncGenerator[LogLine]:
        attempt, left = 0, ""
        async with aclosing(self._session.follow(f"{self._path}/steps/{quote(step, safe='')}/log/stream")) as events:
            async for event in events:
                if event.data["attempt"] != attempt and left:
                    yield LogLine(step, attempt, left)
                    left = ""
                attempt = event.data["attempt"]
                *whole, left = (left + event.data["text"]).split("\n")
                for text in whole:
                    yield LogLine(step, attempt, text)
        if left:
            yield LogLine(step, attempt, left)

    async def _written(self, step: str) -> AsyncGenerator[LogLine]:
        offset, left, attempt = 0, b"", 0
        while True:
            params = {"offset": offset, "limit": _PIECE} | ({"attempt": attempt} if attempt else {})
            answer = await self._session.ask("GET", f"{self._path}/steps/{quote(step, safe='')}/log", params=params)
            attempt, offset = int(answer.headers["x-attempt"]), int(answer.headers["x-next-offset"])
            if not answer.content:
                break
            *whole, left = (left + answer.content).split(b"\n")
            for line in whole:
                yield LogLine(step, attempt, line.decode(errors="replace"))
        if left:
            yield LogLine(step, attempt, left.decode(errors="replace"))


def _below(root: Path, name: object) -> Path | None:
    """The place of a file below `root`; None for a name that has none there."""
    if not isinstance(name, str):
        return None
    try:
        path = (root / name).resolve()
        path.name.encode()
    except ValueError:  # a NUL, or half of a surrogate pair
        return None
    return path if path != root and path.is_relative_to(root) else None
