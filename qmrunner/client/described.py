"""What a job and a list of jobs are as values, whichever client they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from qmrunner.client.packages import needed
from qmrunner.errors import QmrunnerError, UsageError

if TYPE_CHECKING:
    import pandas

    from qmrunner.client.result import Result

FINAL = frozenset({"succeeded", "failed", "cancelled"})
OVER = FINAL | {"held"}
_COLUMNS = ("id", "kind", "name", "state", "code", "group", "structure", "created_at", "started_at", "finished_at")


class LogLine(NamedTuple):
    """One line of a step's output, without its end."""

    step: str
    attempt: int
    text: str

    def __str__(self) -> str:
        return self.text


class Described:
    """A job as it was when the server was last asked; `refresh` and `wait` ask again."""

    data: dict[str, Any]
    _result: Result | None

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.data["id"])

    @property
    def kind(self) -> str:
        """nmr, conformers, nwchem, crest, xtb or huey."""
        return str(self.data["kind"])

    @property
    def name(self) -> str | None:
        """The name that was given, for people."""
        found: str | None = self.data.get("name")
        return found

    @property
    def state(self) -> str:
        """queued, running, held, succeeded, failed or cancelled."""
        return str(self.data["state"])

    @property
    def code(self) -> str | None:
        """Why the job failed or is held."""
        found: str | None = self.data.get("code")
        return found

    @property
    def is_over(self) -> bool:
        """Whether the job has ended or is held."""
        return self.state in OVER

    @property
    def fraction(self) -> float:
        """The estimated completed share, 0 to 1."""
        if self.state in FINAL:
            return 1.0
        return float((self.data.get("progress") or {}).get("fraction") or 0.0)

    @property
    def text(self) -> str:
        """What the job does now, in words."""
        return str((self.data.get("progress") or {}).get("text") or self.state)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__} {self.id} {self.kind}{name} {self.state}>"

    def _repr_html_(self) -> str:
        from qmrunner.client.html import job_html

        return job_html(self.data, self._result)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry of `submit_many` that was refused: its place from 0, and the error."""

    index: int
    error: QmrunnerError


class SomeRefusedError(UsageError):
    """Entries of `submit_many` were refused; `jobs` are the accepted ones, which are stored."""

    def __init__(self, refused: Sequence[Refusal], jobs: Sequence[Described]) -> None:
        self.refused, self.jobs = tuple(refused), tuple(jobs)
        first = refused[0]
        super().__init__(
            "some_refused", f"{len(refused)} entries were refused, {len(jobs)} accepted",
            evidence=f"entry {first.index}: {first.error.code}: {first.error.message}",
            remedy="correct them and submit all again with the same group: accepted ones are not run twice."
            " Or skip them: submit_many(…, skip_refused=True)",
        )  # fmt: skip


J = TypeVar("J", bound=Described)


class Jobs(list[J], Generic[J]):
    """Jobs in order. `more`: the server has others that were not listed. `refused`: skipped entries."""

    def __init__(self, jobs: Sequence[J] = (), *, more: bool = False, refused: Sequence[Refusal] = ()) -> None:
        super().__init__(jobs)
        self.more, self.refused = more, tuple(refused)

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each job."""
        with needed("pandas"):
            import pandas
        return pandas.DataFrame([{name: job.data.get(name) for name in _COLUMNS} for job in self], columns=[*_COLUMNS])

    def _repr_html_(self) -> str:
        from qmrunner.client.html import jobs_html

        return jobs_html([job.data for job in self], self.more)


def joined(found: Sequence[tuple[Described, Result]]) -> pandas.DataFrame:
    """The shifts of several jobs, with the job's `job`, `name` and `structure` before them."""
    with needed("pandas"):
        import pandas
    frames = []
    for job, result in found:
        frame = result.shifts.copy()
        for at, (column, value) in enumerate(
            [("job", job.id), ("name", job.name), ("structure", job.data["structure"])]
        ):
            frame.insert(at, column, value)
        frames.append(frame)
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()
