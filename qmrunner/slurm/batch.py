"""The commands of Slurm that a login node has: which pilots there are, and new ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from qmrunner.errors import NotReadyError
from qmrunner.slurm import pilots
from qmrunner.slurm.options import exports
from qmrunner.slurm.pilots import SlurmPilot

SCRIPT = Path(__file__).with_name("pilot.sbatch")
_NEEDED = ("sbatch", "squeue")
_ANSWER_S = 60.0


class PilotNotStarted(NotReadyError):
    """Slurm took no pilot, or did not answer. Stored jobs wait."""

    def __init__(self, evidence: str) -> None:
        super().__init__(
            "pilot_not_started",
            "Slurm took no pilot; jobs that are stored wait, and none is lost",
            evidence=evidence,
            remedy="correct QMRUNNER_SBATCH_OPTIONS or wait for Slurm, then `qmrunner slurm start` starts pilots",
        )


def require() -> None:
    """Raise NotReadyError `slurm_missing` on a machine without Slurm's commands."""
    if lacking := [name for name in _NEEDED if shutil.which(name) is None]:
        raise NotReadyError(
            "slurm_missing",
            f"this machine has no {' and no '.join(lacking)}",
            remedy="run this on a login node of the cluster, or `module load slurm` first",
        )


def queued(name: str) -> list[SlurmPilot]:
    """The pilots of this user with this job name. Raises PilotNotStarted when Slurm does not answer."""
    words = ["squeue", "--noheader", "--array", f"--user={os.geteuid()}", f"--name={name}"]
    return pilots.read(_run([*words, f"--format={pilots.FORMAT}"], os.environ))


def start(name: str, output: Path, options: Sequence[str], environment: Mapping[str, str], count: int) -> str:
    """Submit `count` pilots, an array if more than one; returns the id of the job. Raises PilotNotStarted."""
    return _sbatch(name, output, [*([f"--array=1-{count}"] if count > 1 else []), *options], environment)


def start_successor(name: str, output: Path, options: Sequence[str], environment: Mapping[str, str]) -> str:
    """Submit a pilot that starts when all earlier ones with this name have ended. Raises PilotNotStarted."""
    return _sbatch(name, output, [*options, "--dependency=singleton"], environment)


def _sbatch(name: str, output: Path, options: Sequence[str], environment: Mapping[str, str]) -> str:
    # `--export`: a site or a user may have set SBATCH_EXPORT=NONE, and pilots need the settings.
    folder = str(output).replace("%", "%%")  # sbatch replaces %j and other letters
    words = ["sbatch", "--parsable", f"--output={folder}/qmrunner-%j.log", *options]
    printed = _run([*words, f"--export={exports(options)}", f"--job-name={name}", str(SCRIPT)], environment)
    return printed.split("\n")[-1].partition(";")[0]


def _run(words: Sequence[str], environment: Mapping[str, str]) -> str:
    # Variables of a job that this command runs in would describe the pilot, too: its memory, its processors.
    kept = {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    try:
        ended = subprocess.run(
            words, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_ANSWER_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise PilotNotStarted(str(problem)) from None
    if ended.returncode != 0:
        lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
        raise PilotNotStarted("; ".join(lines[-5:]) or f"{words[0]} ended with status {ended.returncode}")
    return ended.stdout.strip()
