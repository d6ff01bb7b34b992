"""What strangers hand in meets the checks of the command line, in a process of its own.

RDKit and our readers see bytes from anybody here: what makes them crash or take for ever costs this child, not the
server. It is started by `children.py` and speaks JSON over one connection: a request, an answer, the next request.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from qmrunner.api.forms import FORM, ConformersForm, Form, NmrForm, NwchemForm, XtbForm
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.model.jobs import Submission
from qmrunner.workflows import submission

_MEMORY_BYTES = 4 * 2**30


def check(form: Form, paths: Sequence[str], crest_installed: bool) -> Submission:
    """The checked job of a form and its files (the input first). Raises UsageError as the command line does.

    Every job from a request comes through here and nowhere else. Its source is untrusted: this is the place to say so
    to `workflows.submission`, and nothing here may ever lift a check that holds for strangers.
    """
    common: dict[str, Any] = {"name": form.name, "priority": form.priority}
    if isinstance(form, NmrForm | ConformersForm):
        molecule: dict[str, Any] = {
            "solvent": form.solvent,
            "conformers": form.conformers,
            "max_conformers": form.max_conformers,
            "max_lost_weight": form.max_lost_weight,
            "max_atoms": form.max_atoms,
            "crest_installed": crest_installed,
            "charge": form.charge,
            "multiplicity": form.multiplicity,
            "temperature_k": form.temperature_k,
        }
        source = _source(form, paths)
        if isinstance(form, NmrForm):
            made = submission.nmr(source, level=form.level, **molecule, **common)
        else:
            made = submission.conformers(source, **molecule, **common)
    elif not paths:
        raise _input_missing(f"a job of kind {form.kind} needs its input as the first file")
    elif isinstance(form, NwchemForm):
        made = submission.nwchem(paths[0], paths[1:], **common)
    else:
        program = submission.xtb if isinstance(form, XtbForm) else submission.crest
        made = program(paths[0], form.args, paths[1:], **common)
    return submission.told(made, fresh=form.fresh, allow_altering=form.allow_altering, require=form.require)


def _source(form: NmrForm | ConformersForm, paths: Sequence[str]) -> str:
    """SMILES or path, told apart here: a text in the field `smiles` must never be looked for among our files."""
    from qmrunner.chemistry import structures

    if (form.smiles is None) != (len(paths) == 1) or len(paths) > 1:
        raise _input_missing(f"a job of kind {form.kind} needs either `smiles` or one file")
    if form.smiles is None:
        if not structures.is_structure_file(paths[0]):
            raise UsageError(
                "unknown_format",
                f"{Path(paths[0]).name}: the ending is not known",
                remedy=f"give a file that ends in {', '.join(structures.SUFFIXES)}",
            )
        return paths[0]
    if structures.is_structure_file(form.smiles):
        raise UsageError(
            "invalid_smiles", "this names a file, and is no SMILES", evidence=form.smiles[:200],
            remedy="send the file itself, as a multipart part `file` or in `files`",
        )  # fmt: skip
    structures.read_smiles(form.smiles)
    return form.smiles


def _input_missing(message: str) -> UsageError:
    return UsageError("input_missing", message, remedy="/docs has an example for each kind of job")


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        made = check(FORM.validate_python(request["form"]), request["paths"], request["crest_installed"])
    except QmrunnerError as problem:
        return {"error": problem.as_dict()}
    files = {name: base64.b64encode(data).decode() for name, data in made.files.items()}
    return {"kind": made.kind, "params": dict(made.params), "requires": made.requires, "files": files}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Connection(int(sys.argv[1])) as connection:
        while True:
            try:
                request = json.loads(connection.recv_bytes())
            except EOFError:
                return  # the server has gone
            connection.send_bytes(json.dumps(_answer(request)).encode())


if __name__ == "__main__":
    main()
