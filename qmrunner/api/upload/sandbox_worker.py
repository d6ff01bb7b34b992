"""Checks untrusted submissions with the checks of the command line, in one process per request.

RDKit and qmrunner's readers get untrusted bytes here: an input that makes them crash or hang costs this child, not the
server, and leaves nothing for the next request. The child also parses the body: parsing holds the interpreter lock,
which in the server would block all clients. `sandbox` starts the warm parent, which forks the children.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from qmrunner.api.upload import parsing
from qmrunner.api.upload.forms import ConformersForm, Form, NmrForm, NwchemForm, QcschemaForm, XtbForm
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.guardian.confine import enforce
from qmrunner.model.jobs import Submission
from qmrunner.submission import job_kinds
from qmrunner.submission.digest import digest
from qmrunner.submission.facts import facts
from qmrunner.submission.qcschema import qcschema
from qmrunner.submission.request import ConformerSearch, JobOptions, MoleculeRequest
from qmrunner.submission.structure import canonical

MEMORY_BYTES = 2 * 2**30


def check(form: Form, paths: Sequence[str], crest_installed: bool, strict: bool) -> Submission:
    """The checked job of a form and its files (the input first). Raises UsageError as the command line does.

    Every job of the HTTP API is built here and nowhere else. Its input is untrusted: nothing here may relax a check of
    untrusted input in `submission.job_kinds`. `strict`: the kernel cannot confine the engine, so everything that is not
    known to be harmless is refused.
    """
    if isinstance(form, NmrForm | ConformersForm):
        request = MoleculeRequest(_source(form, paths), form.solvent, form.charge, form.multiplicity, form.max_atoms)
        search = ConformerSearch(
            form.conformers,
            max_conformers=form.max_conformers,
            max_lost_weight=form.max_lost_weight,
            temperature_k=form.temperature_k,
            crest_installed=crest_installed,
            allow_topology_change=form.allow_topology_change,
        )
        if isinstance(form, NmrForm):
            made = job_kinds.nmr(request, search, level=form.level)
        else:
            made = job_kinds.conformers(request, search)
    elif not paths:
        raise _input_missing(f"a job of kind {form.kind} needs its input as the first file")
    elif isinstance(form, NwchemForm):
        made = job_kinds.nwchem(paths[0], paths[1:], strict=strict)
    elif isinstance(form, QcschemaForm):
        if len(paths) > 1:
            raise _input_missing("a job of kind qcschema needs exactly one file")
        made = qcschema(paths[0], form.program, strict=strict)
    else:
        program = job_kinds.xtb if isinstance(form, XtbForm) else job_kinds.crest
        made = program(paths[0], form.args, paths[1:], strict=strict)
    options = JobOptions(
        form.name,
        form.priority,
        fresh=form.fresh,
        allow_altering=form.allow_altering,
        require=form.require,
        network=True,
        group=form.group,
    )
    return job_kinds.with_options(made, options)


def _source(form: NmrForm | ConformersForm, paths: Sequence[str]) -> str:
    """The SMILES or the path. A text in the field `smiles` must never be opened as a file of the server."""
    from qmrunner.chemistry import structures

    if (form.smiles is None) != (len(paths) == 1) or len(paths) > 1:
        raise _input_missing(f"a job of kind {form.kind} needs either `smiles` or one file")
    if form.smiles is None:
        if not structures.is_structure_file(paths[0]):
            raise UsageError(
                "unknown_format",
                f"{Path(paths[0]).name}: unknown file extension",
                remedy=f"give a file with one of these extensions: {', '.join(structures.SUFFIXES)}",
            )
        return paths[0]
    if structures.is_structure_file(form.smiles):
        raise UsageError(
            "invalid_smiles", "this is a file name, not a SMILES", evidence=form.smiles[:200],
            remedy="send the file itself, as a multipart part `file` or in `files`",
        )  # fmt: skip
    structures.read_smiles(form.smiles)
    return form.smiles


def _input_missing(message: str) -> UsageError:
    return UsageError("input_missing", message, remedy="/docs has an example for each kind of job")


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request: the structure `request["smiles"]` in canonical form, or the checked job.

    The job's body is in the file `body` of the folder `request["folder"]`, and its files are written below `made`.
    """
    try:
        if "smiles" in request:
            return {"canonical": canonical(request["smiles"])}
        return _checked(request, Path(request["folder"]))
    except QmrunnerError as problem:
        return {"error": problem.as_dict()}
    except MemoryError:
        return {"error": _too_much().as_dict()}
    except OSError as problem:
        return {"failed": problem.strerror}


def _checked(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    form, paths = parsing.read(request["content_type"], folder / "body", _new(folder / "files"))
    fields = form.model_dump(exclude={"files"}, exclude_defaults=True)
    cap = request["max_atoms"]
    if cap is not None and isinstance(form, NmrForm | ConformersForm):
        form = form.model_copy(update={"max_atoms": min(form.max_atoms, cap)})
        fields["max_atoms"] = form.max_atoms  # a remote client cannot raise the operator's limit
    made = check(form, [str(path) for path in paths], request["crest_installed"], request["strict"])
    place = _new(folder / "made")
    for number, data in enumerate(made.files.values()):
        (place / str(number)).write_bytes(data)
    return {
        "kind": made.kind, "params": dict(made.params), "requires": made.requires, "name": made.name,
        "priority": made.priority, "group": made.group, "files": list(made.files),
        "digest": digest(fields, parsing.hashed(paths)), "facts": facts(made) if request.get("facts") else None,
    }  # fmt: skip


def _too_much() -> UsageError:
    return UsageError(
        "input_crashed", "reading this input takes more memory than it may", remedy="cut the molecule or the files down"
    )


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def _ended_with(server: int) -> Iterator[None]:
    """When the server ends, which closes this descriptor, SIGIO ends this process, whatever it is doing."""
    flags = fcntl.fcntl(server, fcntl.F_GETFL)
    fcntl.fcntl(server, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(server, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(server, fcntl.F_SETFL, flags)


def _serve(descriptor: int) -> NoReturn:
    """Serve one request on one connection, then end this process."""
    status = 1
    try:
        with Connection(descriptor) as connection:
            connection.send_bytes(str(os.getpid()).encode())
            request = json.loads(connection.recv_bytes())
            most = math.ceil(request["seconds"]) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (most, most))
            if request["confinement"] is not None:
                enforce(request["confinement"])
            with _ended_with(descriptor):
                answer = json.dumps(_answer(request)).encode()
            connection.send_bytes(answer)
        status = 0
    finally:
        os._exit(status)


def _warm_up() -> None:
    """Load the chemistry packages, so that no child has to."""
    from qmrunner.chemistry import structures

    try:
        structures.read_smiles("C")
    except QmrunnerError:
        pass  # not installed here: each child reports that to a request that needs it


def main() -> None:
    """The parent of all children: forks a child for each request, with the descriptor that came with it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets children that end
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    _warm_up()
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        while True:
            _, descriptors, _, _ = socket.recv_fds(orders, 1, 1)
            if not descriptors:
                return  # the server has ended
            try:
                child = os.fork()
            except OSError:
                child = -1  # too many processes: the server sees a closed connection
            if child == 0:
                orders.close()
                _serve(descriptors[0])
            os.close(descriptors[0])


if __name__ == "__main__":
    main()
