"""The JSON body of a submission: one form per kind of job, with the defaults of the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from qmrunner.submission.molecule import MAX_ATOMS
from qmrunner.submission.request import MAX_LOST_WEIGHT, SOLVENT, TEMPERATURE_K

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
_DECK = "start water\ngeometry\n load format xyz water.xyz\nend\nbasis\n * library 6-31g*\nend\ntask scf energy\n"


class InlineFile(BaseModel):
    """A text file in the request itself."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(min_length=1, max_length=4096, examples=["water.xyz"])
    text: str = Field(examples=[_WATER])


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str | None = Field(None, max_length=200, pattern=PRINTABLE, description="Human-readable job name.")
    group: str | None = Field(
        None, min_length=1, max_length=200, pattern=PRINTABLE, description="Name of the jobs that belong together."
    )
    priority: int = Field(0, ge=-1000, le=1000, description="Jobs with a higher priority run first.")
    fresh: bool = Field(False, description="Compute every step; do not reuse results of identical steps.")
    allow_altering: bool = Field(False, description="Allow remedies that alter the result; each one is recorded.")
    require: list[str] = Field([], max_length=20, description="Run only on workers with all of these labels.")
    files: list[InlineFile] = Field(
        [],
        max_length=100,
        description="The input first, then extra files to place next to it. Multipart parts `file` count before these.",
    )


class _Molecule(_Form):
    smiles: str | None = Field(
        None, max_length=10_000, description="SMILES or InChI of the molecule, instead of a file."
    )
    solvent: str = Field(SOLVENT, max_length=100, description="One of 12 solvents, or vacuum.")
    max_conformers: int | None = Field(
        None, le=10_000, description="Keep at most this many conformers; default depends on the rotatable bonds."
    )
    max_lost_weight: float = Field(
        MAX_LOST_WEIGHT, description="Fail the job if failed conformers hold more than this Boltzmann weight."
    )
    charge: int | None = Field(None, ge=-1000, le=1000, description="Total charge.")
    multiplicity: int | None = Field(None, ge=-1000, le=1000, description="Spin multiplicity.")
    temperature_k: float = Field(TEMPERATURE_K, description="Temperature of the Boltzmann weights, kelvin.")
    allow_topology_change: bool = Field(False, description="Keep structures that became another molecule, with a note.")


class NmrForm(_Molecule):
    """Predict 1H and 13C NMR shifts."""

    kind: Literal["nmr"]
    level: str = Field(
        "draft",
        max_length=100,
        description="quick (6-31G* on xTB structures), draft (6-31G*) or production (6-311+G(2d,p)).",
    )
    conformers: str = Field("none", max_length=100, description="auto, rdkit, crest or none.")
    max_atoms: int = Field(MAX_ATOMS, ge=1, le=100_000, description="Refuse molecules with more atoms.")


class ConformersForm(_Molecule):
    """Search conformers and rank them with xTB."""

    kind: Literal["conformers"]
    conformers: str = Field("auto", max_length=100, description="auto, rdkit, crest or none.")
    max_atoms: int = Field(2 * MAX_ATOMS, ge=1, le=100_000, description="Refuse molecules with more atoms.")


class NwchemForm(_Form):
    """Run your own NWChem deck: the first file."""

    kind: Literal["nwchem"]


class _Program(_Form):
    args: list[Annotated[str, Field(max_length=4096)]] = Field(
        [], max_length=200, description="Flags passed to the program.", examples=[["--opt", "tight"]]
    )


class XtbForm(_Program):
    """Run xTB with your own flags on the first file."""

    kind: Literal["xtb"]


class CrestForm(_Program):
    """Run CREST with your own flags on the first file."""

    kind: Literal["crest"]


class QcschemaForm(_Form):
    """Run an AtomicInput or OptimizationInput of QCSchema (version 1), the first file; the job is of kind `nwchem` or
    `xtb`, and its `qcschema.json` the result."""

    kind: Literal["qcschema"]
    program: Literal["nwchem", "xtb"] | None = Field(None, description="Default: xtb for GFN methods, else nwchem.")


Form = Annotated[
    NmrForm | ConformersForm | NwchemForm | XtbForm | CrestForm | QcschemaForm, Field(discriminator="kind")
]
FORM: TypeAdapter[NmrForm | ConformersForm | NwchemForm | XtbForm | CrestForm | QcschemaForm] = TypeAdapter(Form)

_QCSCHEMA = (
    '{"schema_name": "qcschema_input", "schema_version": 1, "driver": "gradient", "model": {"method": "GFN2-xTB"},'
    ' "molecule": {"symbols": ["H", "H"], "geometry": [0, 0, 0, 0, 0, 1.4]}}'
)

EXAMPLES: dict[str, Any] = {
    "nmr": {"summary": "NMR shifts of ethanol", "value": {"kind": "nmr", "smiles": "CCO", "solvent": "chloroform"}},
    "xtb": {
        "summary": "Optimisation of water with xTB",
        "value": {"kind": "xtb", "args": ["--opt", "tight"], "files": [{"name": "water.xyz", "text": _WATER}]},
    },
    "nwchem": {
        "summary": "An NWChem deck and a file it uses",
        "value": {
            "kind": "nwchem",
            "files": [{"name": "water.nw", "text": _DECK}, {"name": "water.xyz", "text": _WATER}],
        },
    },
    "conformers": {
        "summary": "Conformers of butane",
        "value": {"kind": "conformers", "smiles": "CCCC", "conformers": "rdkit", "max_conformers": 3},
    },
    "qcschema": {
        "summary": "A gradient, asked for as QCSchema",
        "value": {"kind": "qcschema", "files": [{"name": "input.json", "text": _QCSCHEMA}]},
    },
}
