"""Runs one QCSchema input on a client and returns its answer: what the calculators and executors of this room share."""

from __future__ import annotations

from typing import Any, Protocol

from qmrunner.errors import QmrunnerError


class Result(Protocol):
    """The result of a job that succeeded."""

    @property
    def qcschema(self) -> dict[str, Any]: ...


class Job(Protocol):
    """A submitted job."""

    def wait(self) -> Any: ...

    @property
    def result(self) -> Result: ...


class Client(Protocol):
    """Anything that submits a QCSchema input and returns its job. `program` is nwchem, xtb, or None: by the method."""

    def submit_qcschema(self, document: dict[str, Any], program: str | None = None) -> Job: ...


def ask(client: Client, document: dict[str, Any], program: str | None = None) -> dict[str, Any]:
    """The AtomicResult, OptimizationResult or FailedOperation of an input; waits for the end of its job.

    A refused input and a failed job become a FailedOperation with the code of the error. An interrupted wait
    (KeyboardInterrupt) passes through: the job keeps running.
    """
    try:
        job = client.submit_qcschema(document, program)
        job.wait()
        return dict(job.result.qcschema)
    except QmrunnerError as problem:
        details = {key: value for key, value in problem.as_dict().items() if key in ("evidence", "remedy") and value}
        return {
            "id": document.get("id"),
            "input_data": document,
            "success": False,
            "error": {"error_type": problem.code, "error_message": problem.message, "extras": details},
            "extras": {},
        }
