"""`submit many FILE`: one job for each molecule of a file, all of one group."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmrunner.cli.bundles import expand
from qmrunner.cli.common import AsJson, add_row, console, login_name, print_json, say, styled, table
from qmrunner.cli.submit import Level, Molecule, Solvent, after_submit, request_of, search_of
from qmrunner.errors import ExitCode, NotReadyError, QmrunnerError, UsageError
from qmrunner.model import visible
from qmrunner.submission.request import SOLVENT, JobOptions

if TYPE_CHECKING:
    from qmrunner.app import App
    from qmrunner.model.jobs import Submission
    from qmrunner.submission.many import Entry
    from qmrunner.submission.submit import Accepted

_File = Annotated[
    str, typer.Argument(metavar="FILE", help="SMILES list (.smi, .txt), .csv with a column smiles, or .sdf.")
]
_AT_ONCE = 100  # jobs of a transaction
_FIELDS = {"multiplicity": "mult", "temperature_k": "temperature"}


def register(submit: typer.Typer) -> None:
    submit.command()(many)


@expand
def many(
    *,
    file: _File,
    kind: Annotated[str, typer.Option("--kind", help="nmr or conformers.")] = "nmr",
    solvent: Solvent = SOLVENT,
    level: Level = "draft",
    conformers: Annotated[
        str | None,
        typer.Option("--conformers", help="none, auto, rdkit or crest; default: none for nmr, auto for conformers."),
    ] = None,
    molecule: Molecule,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", help="Name of the group; default: the file's name. A molecule is submitted once per group."
        ),
    ] = None,
    priority: Annotated[int, typer.Option("--priority", help="Jobs with a higher priority run first.")] = 0,
    check: Annotated[bool, typer.Option("--check", help="Print the cost of each molecule; submit nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit one job for each molecule of a file. A line that is refused is reported, and the others are submitted.

    The same file and options with the same group give the same jobs again. Columns of a CSV named like an option
    (solvent, level, conformers, max_conformers, charge, multiplicity, temperature_k, priority) set it for their line.
    """
    from qmrunner import app as app_module
    from qmrunner.chemistry.structures import decode
    from qmrunner.submission import files, many

    if kind not in ("nmr", "conformers"):
        raise UsageError("usage", f"--kind {kind} is not known", remedy="known are nmr and conformers")
    name, data = files.read(file)
    entries = many.read(decode(data, name), name)
    app = app_module.build()
    group = group if group is not None else Path(name).stem
    made = _Maker(app, kind, solvent, level, conformers, molecule, group, priority)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(entries.found), _AT_ONCE):
            some = entries.found[start : start + _AT_ONCE]
            done = _checked(app, made, some, Path(folder)) if check else _submitted(app, made, some, Path(folder))
            rows += done
            if not as_json:
                for row in done:
                    _say(row, check)
    status = ExitCode.OK if check else after_submit(app)
    _print(app, rows, list(entries.ignored), group, check, as_json)
    raise typer.Exit(ExitCode.FAILED if any("error" in row for row in rows) else status)


class _Maker:
    """Makes the job of an entry with the options of the command."""

    def __init__(
        self, app: App, kind: str, solvent: str, level: str, conformers: str | None, molecule: Molecule, group: str,
        priority: int,
    ) -> None:  # fmt: skip
        self._app = app
        self._kind = kind
        self._defaults = {
            "solvent": solvent, "level": level, "priority": priority,
            "conformers": conformers or ("none" if kind == "nmr" else "auto"),
        }  # fmt: skip
        self._molecule = molecule
        self._group = group

    def make(self, entry: Entry, folder: Path) -> Submission:
        """The checked job with its key. Raises UsageError with what is wrong with this molecule."""
        from qmrunner.chemistry import structures
        from qmrunner.submission import job_kinds

        if entry.problem is not None:
            raise entry.problem
        own = {**self._defaults, **{key: value for key, value in entry.options.items() if key in self._defaults}}
        fields = {_FIELDS.get(key, key): value for key, value in entry.options.items() if key not in self._defaults}
        options: Molecule = replace(self._molecule, **fields)  # type: ignore[arg-type]
        if entry.block is None:
            source = entry.smiles or ""
            if structures.is_structure_file(source):
                raise UsageError("invalid_smiles", f"{source!r} is a file name, not a SMILES", remedy="give a SMILES")
            structures.read_smiles(source)  # a line of a file never names another file
        else:
            path = folder / f"molecule-{entry.number}.sdf"
            path.write_text(entry.block)
            source = str(path)
        request = request_of(self._app, source, str(own["solvent"]), options)
        search = search_of(self._app, str(own["conformers"]), options)
        if self._kind == "nmr":
            made = job_kinds.nmr(request, search, level=str(own["level"]))
        else:
            made = job_kinds.conformers(request, search)
        name = entry.name[:200] if entry.name else None
        made = job_kinds.with_options(made, JobOptions(name, int(str(own["priority"])), group=self._group))
        identity = hashlib.sha256(self._identity(made).encode()).hexdigest()
        return replace(made, owner=login_name(), key=f"many:{identity}", request_digest=identity)

    def _identity(self, made: Submission) -> str:
        """Everything that defines the job except its place in the file and its priority. Two ways to write one SMILES
        are one molecule."""
        left_out = {"input", "files", "structures"}
        if "smiles" in made.params["input"]:
            left_out |= {"atoms", "bonds"}
        params = {key: value for key, value in made.params.items() if key not in left_out}
        files = sorted(hashlib.sha256(data).hexdigest() for data in made.files.values())
        return json.dumps([self._group, made.kind, made.name, params, files], sort_keys=True, default=str)


def _made(maker: _Maker, entry: Entry, folder: Path) -> tuple[dict[str, Any], Submission | None]:
    """The row of an entry, with its job unless the row has an error."""
    row: dict[str, Any] = {"line": entry.number, "name": entry.name, "smiles": entry.smiles}
    try:
        made = maker.make(entry, folder)
    except NotReadyError:
        raise  # of this machine, not of this molecule
    except QmrunnerError as problem:
        return {**row, "error": problem.as_dict()}, None
    return {**row, "smiles": made.params["smiles"]}, made


def _checked(app: App, maker: _Maker, entries: Sequence[Entry], folder: Path) -> list[dict[str, Any]]:
    pairs = (_made(maker, entry, folder) for entry in entries)
    return [row if made is None else {**row, "verdict": _verdict(app, made)} for row, made in pairs]


def _submitted(app: App, maker: _Maker, entries: Sequence[Entry], folder: Path) -> list[dict[str, Any]]:
    """Store the jobs of the entries in one transaction, in the order of the file."""
    from qmrunner.submission.submit import submit_all

    pairs = [_made(maker, entry, folder) for entry in entries]
    jobs = iter(submit_all(app, [made for _, made in pairs if made is not None]))
    return [row if made is None else {**row, **_accepted(next(jobs))} for row, made in pairs]


def _accepted(job: Accepted) -> dict[str, Any]:
    return {"id": job.job_id, "new": job.new}


def _verdict(app: App, made: Submission) -> dict[str, Any]:
    from qmrunner.submission.check import verdict
    from qmrunner.submission.facts import facts

    return verdict(app, made, {**facts(made), "drawing": None})


def _say(row: dict[str, Any], check: bool) -> None:
    """Print the id of a stored job. Errors go to stderr."""
    if "error" in row:
        say(visible.line(f"line {row['line']}: {row['error']['code']}: {row['error']['message']}"), err=True)
    elif not check:
        say(row["id"] + ("" if row["new"] else "  known"))


def _print(app: App, rows: list[dict[str, Any]], ignored: list[str], group: str, check: bool, as_json: bool) -> None:
    from qmrunner.host.home import holder_of

    refused = sum("error" in row for row in rows)
    if as_json:
        print_json({"group": group, "ignored_columns": ignored, "lines": rows})
        return
    if check:
        for part in _costs(visible.fields({"rows": rows})["rows"]):
            console().print(part)
    if ignored:
        say(f"columns without a meaning here: {', '.join(ignored)}", err=True)
    if not check:
        new = sum(row.get("new", False) for row in rows)
        say(f"{new} submitted, {len(rows) - new - refused} known, {refused} refused; group {group}", err=True)
        if holder_of(app.settings.run_root) is None and app.store.is_sqlite:
            say(f"no daemon runs on {app.settings.home}: start `qmrunner run`", err=True)


def _costs(rows: list[dict[str, Any]]) -> Iterator[Any]:
    made = table("line", "name", "formula", "steps", "core hours", "warnings", "computed before")
    good = [row for row in rows if "verdict" in row]
    for row in good:
        found = row["verdict"]
        low, high = found["steps"]
        steps = str(low) if low == high else f"{low}-{high}"
        codes = ", ".join(sorted({warning["code"] for warning in found["warnings"]}))
        add_row(
            made, str(row["line"]), row["name"] or "", found["formula"] or "", steps,
            f"{found['core_hours']:.3g}", codes, ", ".join(job["job"] for job in found["computed_before"][:3]),
        )  # fmt: skip
    yield made
    total = sum(row["verdict"]["core_hours"] or 0.0 for row in good)
    yield styled(f"{len(good)} of {len(rows)} molecules, about {total:.3g} core hours")
