"""A submission from an input of QCSchema: a job of kind `nwchem` or `xtb` whose result is a document of QCSchema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmrunner.errors import UsageError
from qmrunner.model.jobs import Submission
from qmrunner.submission import files as inputs

if TYPE_CHECKING:
    from qmrunner.engines.qcschema_input import Request

PROGRAMS = ("nwchem", "xtb")


def qcschema(source: str, program: str | None = None, *, strict: bool = False) -> Submission:
    """An AtomicInput or OptimizationInput (version 1) in a JSON file.

    `program` None: xTB for its own methods, else NWChem. `strict` as for `job_kinds.nwchem`. Raises UsageError as
    `engines.qcschema_input.read` and the writers of decks and arguments do, `unknown_program`.
    """
    from qmrunner.chemistry.structures import decode
    from qmrunner.engines import qcschema_input
    from qmrunner.engines.xtb import qcschema_input as xtb

    name, data = inputs.read(source)
    request = qcschema_input.read(decode(data, name), name)
    program = program or ("xtb" if xtb.is_known(request.method) else "nwchem")
    if program not in PROGRAMS:
        raise UsageError(
            "unknown_program", f"no program {program[:40]!r} runs inputs of QCSchema here",
            remedy=f"choose one of {', '.join(PROGRAMS)}",
        )  # fmt: skip
    made = _xtb(request) if program == "xtb" else _nwchem(request, strict)
    params = {**made.params, "qcschema": qcschema_input.FILE}
    files = {**made.files, qcschema_input.FILE: data}
    return Submission(made.kind, params | {"files": list(files)}, files)


def _nwchem(request: Request, strict: bool) -> Submission:
    from qmrunner.engines import input_check
    from qmrunner.engines.nwchem import can_resume, findings
    from qmrunner.engines.nwchem.input import qcschema_deck

    text, notes = qcschema_deck.write(request)
    files = {qcschema_deck.DECK: text.encode()}
    input_check.refuse(findings(qcschema_deck.DECK, files, strict=strict))
    params: dict[str, Any] = {"deck": qcschema_deck.DECK, "notes": notes}
    return Submission("nwchem", params | ({"resumes": True} if can_resume(text) else {}), files)


def _xtb(request: Request) -> Submission:
    from qmrunner.engines.xtb import qcschema_input

    text, args = qcschema_input.write(request)
    params = {"structure": qcschema_input.STRUCTURE, "args": args, "atoms": list(request.symbols)}
    return Submission("xtb", params, {qcschema_input.STRUCTURE: text.encode()})
