"""Submissions of small molecules, with any option of the three request bundles as one keyword."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from qmrunner.model.jobs import Submission
from qmrunner.submission import job_kinds
from qmrunner.submission.request import ConformerSearch, MoleculeRequest


def nmr(source: str, *, conformers: str = "none", level: str = "draft", **options: Any) -> Submission:
    return job_kinds.nmr(*_bundles(source, conformers, options), level=level)


def conformers(source: str, *, conformers: str = "auto", **options: Any) -> Submission:
    return job_kinds.conformers(*_bundles(source, conformers, options))


def _bundles(source: str, method: str, options: dict[str, Any]) -> tuple[MoleculeRequest, ConformerSearch]:
    of_molecule = {field.name for field in fields(MoleculeRequest)} & options.keys()
    molecule = MoleculeRequest(source, **{name: options.pop(name) for name in of_molecule})
    return molecule, ConformerSearch(method, **options)
