"""Options of sbatch, from the settings and the command line: what they mean for pilots. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qmrunner.errors import UsageError

# Options with which no pilot would start, or none that this program sees: the long name, the short one, why, remedy.
_REFUSED = (
    ("wrap", "", "sbatch runs the script of a pilot, not a command", "leave it out"),
    ("array", "a", "the number of pilots is computed", "give `--pilots N` to limit it"),
    ("wait", "W", "the command would wait until the pilot ends", "leave it out; `--wait` after the kind follows a job"),
    ("test-only", "", "Slurm would start nothing", "leave it out"),
    ("clusters", "M", "squeue of this machine would not show the pilots", "run this on a login node of that cluster"),
)


def check(options: Sequence[str]) -> None:
    """Raises UsageError `sbatch_option` for an option that a pilot cannot have."""
    for long, short, why, remedy in _REFUSED:
        if any(True for _ in _values(options, long, short)):
            raise UsageError("sbatch_option", f"--{long} cannot be an option of pilots: {why}", remedy=remedy)
    if ":" in options:
        raise UsageError(
            "sbatch_option",
            "`:` cannot be an option of pilots: the worker uses the first part of a heterogeneous job only",
            remedy="give the options of one part",
        )


def cores(options: Sequence[str]) -> int:
    """Processors of a pilot with these options, of which the last of each kind counts; 1 if none names them."""
    tasks = max(_last(options, "ntasks", "n"), _last(options, "ntasks-per-node", ""))
    return tasks * _last(options, "cpus-per-task", "c")


def exports(options: Sequence[str]) -> str:
    """The value of `--export` for a pilot: the whole environment, which has its settings, with what the options add."""
    given = [value for value in _values(options, "export", "") if value][-1:]
    names = [name for name in ",".join(given).split(",") if name and name.upper() not in ("ALL", "NONE", "NIL")]
    return ",".join(["ALL", *names])


def _last(options: Sequence[str], long: str, short: str) -> int:
    return next((int(v) for v in reversed([*_values(options, long, short)]) if v.isdecimal() and int(v)), 1)


def _values(options: Sequence[str], long: str, short: str) -> Iterator[str]:
    """The value of each occurrence of an option: `--name=value`, `--name value`, `-n value`, `-nvalue`; empty for an
    occurrence without one."""
    for word, following in zip(options, [*options[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name == f"--{long}":
            yield value if equals else following
        elif short and word.startswith(f"-{short}"):
            yield word[2:] or following
