"""Schemas of actions on many jobs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qmrunner.api.schemas import JobState, Kind, Moved
from qmrunner.api.upload.forms import PRINTABLE
from qmrunner.model.job_filter import LONGEST_STRUCTURE
from qmrunner.reports import query

_Text = Annotated[str, Field(max_length=200, pattern=PRINTABLE)]
_Id = Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9]+$")]


class FilterForm(BaseModel):
    """The conditions of `GET /v1/jobs`. At least one of them must be given."""

    model_config = ConfigDict(extra="forbid", strict=True)
    q: Annotated[str, Field(max_length=query.LONGEST, pattern=PRINTABLE)] | None = Field(
        None, examples=["group:batch7 state:failed"]
    )
    state: list[JobState] = Field([], max_length=10)
    kind: list[Kind] = Field([], max_length=10)
    code: list[_Text] = Field([], max_length=50)
    owner: list[_Text] = Field([], max_length=50)
    group: list[_Text] = Field([], max_length=50)
    name: _Text | None = None
    structure: Annotated[str, Field(max_length=LONGEST_STRUCTURE, pattern=PRINTABLE)] | None = None
    since: _Text | None = None
    until: _Text | None = None


class ActionForm(BaseModel):
    """An action on many jobs."""

    model_config = ConfigDict(extra="forbid", strict=True)
    verb: Literal["cancel", "retry", "hold", "release", "priority"]
    ids: list[_Id] | None = Field(None, max_length=1000)
    filter: FilterForm | None = None
    dry_run: bool = Field(False, description="Change nothing; report what would be moved.")
    expect: int | None = Field(None, ge=0, le=10**6, description="Move nothing if more jobs would be moved.")
    allow_altering: bool = Field(False, description="With `retry`: allow remedies that alter the result.")
    priority: int | None = Field(None, ge=-1000, le=1000, description="With `priority`: the new one.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or filter")
        if self.filter is not None and not self.dry_run and self.expect is None:
            raise ValueError("a filter needs dry_run or expect")
        if (self.verb == "priority") != (self.priority is not None):
            raise ValueError("priority belongs to the verb priority, which needs it")
        return self


class SkippedJob(BaseModel):
    """A job that the action leaves as it is, and why."""

    id: str
    state: JobState | None
    reason: str


class ActionAnswer(BaseModel):
    """What the action has moved, or would move. `states`: the states of the jobs to move; `more`: the filter meets more
    jobs than one action moves. `skipped` has at most 200 of the `skipped_count` others."""

    verb: str
    dry_run: bool
    matched: int
    more: bool
    moves: int
    states: dict[JobState, int]
    jobs: list[Moved]
    skipped: list[SkippedJob]
    skipped_count: int
