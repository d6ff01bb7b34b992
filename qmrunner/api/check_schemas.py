"""Response schemas of the check before a submission; docs/reference/json.md describes the JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from qmrunner.api.schemas import Kind

Range = tuple[float, float]
Count = tuple[int, int]


class Warned(BaseModel):
    """What is doubtful about the input: a stable code, a sentence, and the atoms it is about."""

    code: str = Field(examples=["stereo_open"])
    text: str
    atoms: list[int]


class StageCost(BaseModel):
    """The steps of a stage, at least and at most, and the needs of each. `basis`: what the times follow from."""

    stage: str
    engine: str
    steps: Count
    cores: int
    memory_mib: int
    scratch_mib: int
    shm_mib: int
    core_s: float | None
    basis: Literal["measured", "rule", "unknown"]
    wall_s: Range | None
    unmet: str | None


class Needs(BaseModel):
    """The largest need of a single step."""

    memory_mib: int
    scratch_mib: int
    shm_mib: int


class Fleet(BaseModel):
    """The active workers that may run the job, and what all of them lack for it."""

    count: int
    cores: int
    unmet: str | None


class Earlier(BaseModel):
    """A job that has computed the same."""

    job: str
    name: str | None
    finished_at: str | None


class Verdict(BaseModel):
    """What a job would cost. Values that cannot be known in advance are null."""

    kind: Kind
    name: str | None
    group: str | None
    formula: str | None = Field(examples=["C2H6O"])
    atoms: int | None
    charge: int | None
    multiplicity: int | None
    rotors: int | None
    smiles: str | None
    inchikey: str | None
    drawing: str | None = Field(description="SVG with the numbers of the atoms.")
    warnings: list[Warned]
    steps: Count
    stages: list[StageCost]
    needs: Needs
    core_hours: float | None
    wall_s: Range | None
    workers: Fleet
    ahead: int
    computed_before: list[Earlier]
