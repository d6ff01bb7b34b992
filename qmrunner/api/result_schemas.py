"""Response schemas of results: conformers, measured peaks, comparisons, texts. Fields may be added."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from qmrunner.api.schemas import ConformerRow

Nucleus = Literal["1H", "13C"]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class ConformerAt(ConformerRow):
    """A conformer; `weight_at` is its weight at the temperature that was asked for, null if it was dropped."""

    weight_at: float | None


class AtomRange(_Open):
    """A shift and its limits, if each energy may be wrong by `error_kcal_mol`; the conformer that moves it most."""

    atom: int = Field(description="Number from 1.")
    shift_ppm: float
    low_ppm: float
    high_ppm: float
    most_ppm: float
    most_by: str | None


class Line(_Open):
    """The line from shieldings to shifts: shift = intercept + slope x shielding."""

    slope: float
    intercept_ppm: float


class Shieldings(_Open):
    """What shifts at any temperature follow from: `shieldings_ppm` has a row for each conformer, and a column for each
    of `atoms`."""

    temperature_k: float
    lines: dict[str, Line]
    conformers: list[dict[str, str | float | int | None]]
    atoms: list[int]
    nuclei: list[Nucleus]
    shieldings_ppm: list[list[float]]


class EnsembleAnswer(_Open):
    """Conformers, and how far each shift depends on them. `atoms` is null for results without their shieldings,
    `ensemble` is there if `shieldings` was asked for."""

    id: str = Field(examples=["ftqsrbrr"])
    temperature_k: float | None
    error_kcal_mol: float
    conformers: list[ConformerAt]
    atoms: list[AtomRange] | None
    ensemble: Shieldings | None = None


class Signal(_Open):
    """A computed signal and the peak that was assigned to it. `beyond` is the difference in units of the uncertainty;
    `fixed`: the peak named its atom; `shared`: other signals have the same peak."""

    atoms: list[int]
    label: str = Field(examples=["C2"])
    kind: str | None = Field(examples=["nitrile"])
    exchangeable: bool
    shift_ppm: float
    uncertainty_ppm: float | None
    measured_ppm: float | None
    difference_ppm: float | None
    beyond: float | None
    fixed: bool
    shared: bool


class Peak(_Open):
    """A measured peak without a signal; `line_of` is the solvent that it is a line of."""

    ppm: float
    count: int | None
    text: str
    line_of: str | None = None


class Errors(_Open):
    """Statistics of the differences."""

    signals: int
    mae_ppm: float
    rmsd_ppm: float
    largest_ppm: float
    largest_at: str
    mean_ppm: float
    slope: float | None
    intercept_ppm: float | None


class Statistics(_Open):
    """Of all signals with a peak, and without hydrogens on N, O and S; null where there is none."""

    all: Errors | None
    without_exchangeable: Errors | None


class Rank(_Open):
    """The place of the RMSD among the molecules of the benchmark."""

    better: int
    molecules: int
    median_rmsd_ppm: float
    largest_rmsd_ppm: float


class ListComparison(_Open):
    """One list of peaks against the signals of its nucleus."""

    nucleus: Nucleus
    solvent: str | None
    signals: list[Signal]
    unassigned: list[Peak]
    aside: list[Peak]
    statistics: Statistics
    rank: Rank | None
    sentences: list[str]
    problems: list[str]


class MeasuredAnswer(_Open):
    """The peaks that are kept with a job, and their comparison with its shifts."""

    job: str = Field(examples=["ftqsrbrr"])
    text: str
    nucleus: Nucleus | None
    at: str = Field(examples=["2026-11-25T18:24:37.125Z"])
    by: str | None
    level: str
    solvent: str
    comparisons: list[ListComparison]
    problems: list[str]


class Candidate(_Open):
    """A job of a comparison."""

    id: str = Field(examples=["ftqsrbrr"])
    name: str
    level: str
    solvent: str
    formula: str | None
    smiles: str | None
    conformers: int
    comparisons: list[ListComparison]


class Weighed(_Open):
    """The probability of a candidate, and how many decoys fit as well."""

    name: str
    probability: float | None
    log_likelihood: float | None
    as_good: int | None


class Probability(_Open):
    """How likely each candidate is if one of them is right; `reason` states why that is not known."""

    reason: str | None
    nuclei: list[Nucleus]
    decoys: int
    sentences: list[str]
    candidates: list[Weighed]


class AtomShifts(_Open):
    """The shifts of one atom in all jobs, where these have the same atoms."""

    atom: int
    symbol: str
    nucleus: Nucleus
    shifts_ppm: list[float]


class ComparisonAnswer(_Open):
    """Jobs against measured peaks and against each other. `peaks_of` is the job whose peaks were used."""

    text: str | None
    nucleus: Nucleus | None
    peaks_of: str | None
    problems: list[str]
    jobs: list[Candidate]
    probability: Probability | None
    atoms: list[AtomShifts] | None


class TextsAnswer(_Open):
    """Texts for a paper: the list of shifts of each nucleus, the methods, and what to cite."""

    lists: dict[str, str]
    methods: str
    citations: list[str]
