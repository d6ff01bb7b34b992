"""What a job and a list of jobs are as values, whichever client they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, Self, SupportsIndex, TypeVar, overload

from qmrunner.client.packages import needed
from qmrunner.errors import QmrunnerError, UsageError

if TYPE_CHECKING:
    import pandas

    from qmrunner.client.result import Result

FINAL = frozenset({"succeeded", "failed", "cancelled"})
OVER = FINAL | {"held"}
_COLUMNS = ("id", "kind", "name", "state", "code", "group", "structure", "created_at", "started_at", "finished_at")
SHIFTS = ("nucleus", "atom", "symbol", "shift_ppm", "uncertainty_ppm", "shielding_ppm", "equivalent_atoms", "kind")
_BEFORE = ("job", "name", "structure")
_COMPARED = ("nucleus", "atoms", "label", "kind", "shift_ppm", "uncertainty_ppm", "measured_ppm", "difference_ppm")


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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Described) and (type(self), self.id) == (type(other), other.id)

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a job has an open connection: pass its `id` on, and ask another client for `client.job(id)`")

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
            evidence=f"entry {first.index}: {first.error.code}: {first.error.message}"
            + (f" ({first.error.evidence})" if first.error.evidence else ""),
            remedy=(f"{first.error.remedy}; " if first.error.remedy else "")
            + "correct them and submit all again with the same group: accepted ones are not run twice."
            " Or skip them: submit_many(…, skip_refused=True)",
        )  # fmt: skip


class Comparison(dict[str, Any]):
    """The comparison of a job with measured peaks: the JSON of `POST /v1/compare`."""

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each signal: `measured_ppm` is None for a signal without a peak."""
        with needed("pandas"):
            import pandas
        rows = [
            {"nucleus": each["nucleus"], **signal}
            for job in self["jobs"]
            for each in job["comparisons"]
            for signal in each["signals"]
        ]
        return pandas.DataFrame([{name: row.get(name) for name in _COMPARED} for row in rows], columns=[*_COMPARED])

    def _repr_html_(self) -> str:
        return str(self.frame._repr_html_())


J = TypeVar("J", bound=Described)


class Jobs(list[J], Generic[J]):
    """Jobs in order. `more`: the server has others that were not listed. `refused`: skipped entries."""

    def __init__(self, jobs: Sequence[J] = (), *, more: bool = False, refused: Sequence[Refusal] = ()) -> None:
        super().__init__(jobs)
        self.more, self.refused = more, tuple(refused)

    @overload
    def __getitem__(self, at: SupportsIndex) -> J: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: SupportsIndex | slice) -> J | Self:
        """A job, or the list of some of the jobs."""
        return self._of(super().__getitem__(at)) if isinstance(at, slice) else super().__getitem__(at)

    def _of(self, jobs: Sequence[J]) -> Any:
        return type(self)(jobs)

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each job."""
        with needed("pandas"):
            import pandas
        return pandas.DataFrame([{name: job.data.get(name) for name in _COLUMNS} for job in self], columns=[*_COLUMNS])

    def _repr_html_(self) -> str:
        from qmrunner.client.html import jobs_html

        return jobs_html([job.data for job in self], self.more)


def listed(jobs: Any, kind: type[J]) -> list[J]:
    """One job or several as a list. Raises UsageError `not_jobs`."""
    found: list[Any] = [jobs] if not isinstance(jobs, Iterable) or isinstance(jobs, str) else list(jobs)
    if not all(isinstance(job, kind) for job in found):
        raise UsageError(
            "not_jobs", f"this is no list of {kind.__name__}", evidence=repr(jobs)[:80],
            remedy="give what `submit_…` and `jobs()` return; `client.job(id)` finds a job by its id",
        )  # fmt: skip
    return found


def joined(found: Sequence[tuple[Described, Result]]) -> pandas.DataFrame:
    """The shifts of several jobs, with the job's `job`, `name` and `structure` before them."""
    with needed("pandas"):
        import pandas
    frames = []
    for job, result in found:
        frame = result.shifts.copy()
        for at, (column, value) in enumerate(zip(_BEFORE, (job.id, job.name, job.data["structure"]), strict=True)):
            frame.insert(at, column, value)
        frames.append(frame)
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame(columns=[*_BEFORE, *SHIFTS])
