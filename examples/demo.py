"""Ethanol from SMILES to NMR shifts, through the real command line, daemon and engines: `make demo`.

It starts a daemon on a fresh home, submits one job, shows its progress and its result, and stops the daemon. Then it
proves that nothing is left: it is a child subreaper, so every orphan would be its child, and `waitpid` reports that it
has none.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from qmrunner import app as composition
from qmrunner.errors import NotReadyError, QmrunnerError
from qmrunner.guardian import process_tree
from qmrunner.host.home import holder_of
from qmrunner.settings import load as load_settings
from qmrunner.submission.submit import missing_engine

MOLECULE = ("CCO", "--solvent", "chloroform", "--level", "draft", "--conformers", "none")
DEFAULT_HOME = "qmrunner-demo"
ENGINES = ("chemistry", "xtb", "nwchem")
# Where programs are and how much of the machine to use. Everything else, such as a store, is the demo's own.
KEPT_SETTINGS = frozenset({"HOME", "NWCHEM", "MPIRUN", "XTB", "CREST", "CORES", "SLOTS", "MEMORY_MIB"})
READY_S = 60.0
STOP_S = 40.0


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    process_tree.become_subreaper()
    began = time.monotonic()
    daemon: subprocess.Popen[bytes] | None = None
    try:
        home, own = _environment()
        _require_engines()
        _make_fresh(home, own)
        daemon = _start_daemon(home)
        status = _submit()
    except QmrunnerError as problem:
        print(f"demo: {problem.code}: {problem}", file=sys.stderr)
        status = int(problem.exit_code)
    except KeyboardInterrupt:
        kept = "" if daemon is None else "; submitted jobs are kept, and a daemon on the same home would resume them"
        print(f"\ndemo: interrupted{kept}", flush=True)
        status = 130
    stopped = True if daemon is None else _stop_daemon(daemon)
    if daemon is not None:
        print(f"demo: {time.monotonic() - began:.0f} s in all", flush=True)
    return status or (0 if stopped else 1)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _environment() -> tuple[Path, bool]:
    """The home, and whether it is the demo's own folder. Other installations' settings do not reach the demo."""
    for name in list(os.environ):
        if name.startswith("QMRUNNER_") and name.removeprefix("QMRUNNER_") not in KEPT_SETTINGS:
            del os.environ[name]
    own = not os.environ.get("QMRUNNER_HOME")
    if own:
        os.environ["QMRUNNER_HOME"] = str(Path.cwd() / DEFAULT_HOME)
    return load_settings().home, own


def _require_engines() -> None:
    """Raises NotReadyError that names every engine which is not there, and how to get it."""
    opened = composition.build()
    missing = [
        name for name in ENGINES if opened.engine(name).locate(opened.settings.programs(), shutil.which).path is None
    ]
    if missing:
        fixes = [missing_engine(name).remedy or name for name in missing]
        raise NotReadyError(
            "engine_missing", f"the demo needs {', '.join(missing)}, not installed here", remedy="; ".join(fixes)
        )
    problem = opened.installed("nwchem").facts.get("problem")
    if problem:
        raise NotReadyError("launcher_mismatch", str(problem), remedy="set QMRUNNER_MPIRUN to NWChem's own launcher")


def _make_fresh(home: Path, own: bool) -> None:
    """Remove what an earlier demo left in its own folder; a home named by QMRUNNER_HOME is used as it is."""
    if holder_of(home / "run") is not None:
        raise NotReadyError("home_in_use", f"a daemon runs on {home}", remedy="stop it, or set QMRUNNER_HOME")
    if own and home.exists():
        if home.is_symlink() or not (home / "home.id").is_file():
            raise NotReadyError(
                "not_a_home", f"{home} is there and is no folder of an earlier demo", remedy="move it away"
            )
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)


def _start_daemon(home: Path) -> subprocess.Popen[bytes]:
    """The running daemon, healthy. Raises NotReadyError with its own words when it does not come up."""
    events, errors = home / "daemon.out", home / "daemon.err"
    _say("qmrunner run &")
    with events.open("wb") as out, errors.open("wb") as err:
        # A separate session: Ctrl-C reaches only this script, which stops the daemon in order.
        daemon = subprocess.Popen([*_qmrunner(), "run"], stdout=out, stderr=err, start_new_session=True)
    try:
        end = time.monotonic() + READY_S
        while time.monotonic() < end and daemon.poll() is None:
            if subprocess.run([*_qmrunner(), "health"], stdout=subprocess.DEVNULL, check=False).returncode == 0:
                print(f"demo: the daemon runs as process {daemon.pid}; its events are in {events}", flush=True)
                return daemon
            time.sleep(0.2)
    except BaseException:
        _stop_daemon(daemon)
        raise
    _stop_daemon(daemon)
    printed = errors.read_text(errors="replace").strip()
    raise NotReadyError(
        "daemon_not_ready", "the daemon did not come up", evidence=printed or None, remedy=f"see {events}"
    )


def _submit() -> int:
    """Submit the molecule and follow the job. Returns the exit status of the command."""
    _say(f"qmrunner submit nmr {' '.join(MOLECULE)} --wait")
    return subprocess.run([*_qmrunner(), "submit", "nmr", *MOLECULE, "--wait"], check=False).returncode


def _stop_daemon(daemon: subprocess.Popen[bytes]) -> bool:
    """Send SIGTERM, wait, and search for remaining processes. True if the daemon ended cleanly and none remains."""

    def no_more_grace(_number: int, _frame: FrameType | None) -> None:
        daemon.send_signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, no_more_grace)
    print(flush=True)
    _say(f"kill -TERM {daemon.pid}")
    began = time.monotonic()
    daemon.terminate()
    try:
        code = daemon.wait(STOP_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        code = daemon.wait()
    took = time.monotonic() - began
    left = _left_over()
    if code == 0 and not left:
        print(f"demo: the daemon ended cleanly in {took:.1f} s (exit 0) and left no process", flush=True)
        return True
    print(f"demo: the daemon ended with exit {code} after {took:.1f} s", file=sys.stderr)
    if left:
        print(f"demo: it left {len(left)} processes, ended now: {', '.join(left)}", file=sys.stderr)
    return False


def _left_over() -> list[str]:
    """Processes that the daemon left, by pid and name; they are ended. Empty when the kernel reports no child."""
    found: list[str] = []
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue  # had ended already
        except ChildProcessError:
            return found
        children = [stat for stat in process_tree.descendants(os.getpid()) if stat.state not in "ZX"]
        found += [f"{stat.pid} {stat.comm}" for stat in children]
        process_tree.end_subtrees(process_tree.children_of(os.getpid()), lambda: process_tree.children_of(os.getpid()))


def _qmrunner() -> list[str]:
    script = Path(sys.executable).with_name("qmrunner")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "qmrunner"]


def _say(command: str) -> None:
    print(f"$ {command}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
