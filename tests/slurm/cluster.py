"""A real Slurm of the tests' own: munged, slurmctld and two slurmd as two nodes of this machine, from Debian.

Everything is in one temporary folder, with its own ports; a Slurm of the machine itself is not touched. Each node has
its own local disk (TMPDIR), both share the rest. Jobs run as root.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import wait_for

NEEDED = ("slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "munged")
KILL_WAIT_S = 10
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_CONF = """\
ClusterName=qmtest
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=8
FirstJobId={first_job}
SlurmctldPort={ctld}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/cgroup
TaskProlog={folder}/prolog
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait={kill_wait}
SlurmdTimeout=10
SlurmctldTimeout=30
MinJobAge=300
InactiveLimit=0
SchedulerParameters=sched_interval=1,sched_min_interval=10000,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=8000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO PreemptMode=OFF
PartitionName=low Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""
_CGROUP = "CgroupPlugin={plugin}\n{more}ConstrainRAMSpace=yes\nAllowedRAMSpace=100\n"


def absent() -> list[str]:
    """Programs of Slurm that are not installed."""
    return [name for name in NEEDED if shutil.which(name, path=_PATH) is None]


class Cluster:
    """Two nodes, `n1` and `n2`, with two processors and 8000 MB each."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qmslurm-"))
        self.folder.chmod(0o755)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._write()

    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "QMRUNNER"))
        }
        return {**kept, "PATH": _PATH, "SLURM_CONF": str(self.folder / "slurm.conf"), "LC_ALL": "C.UTF-8"}

    def local(self, node: str) -> Path:
        """The disk of a node, where $TMPDIR of its jobs is."""
        return self.folder / node / "disk"

    # -- the daemons ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._munge()
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        for node in ("n1", "n2"):
            self.start_node(node)
        wait_for(lambda: self.run("sinfo", "-h", "-o", "%T %D") == "idle 2", 30.0, "two idle nodes")

    def start_node(self, node: str) -> None:
        self._start(node, "slurmd", "-D", "-N", node, "-f", str(self.folder / "slurm.conf"))

    def kill_node_daemon(self, node: str) -> None:
        """slurmd alone, as a crash of it: jobs keep running under their slurmstepd."""
        self._running[node].kill()
        self._running.pop(node).wait(10)

    def stop(self) -> None:
        with suppress(Exception):
            self.run("scancel", "--state=PENDING,RUNNING,SUSPENDED", "--me")
        for process in reversed(self._running.values()):
            process.kill()
            process.wait(10)
        for pid in self.steps():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name: str, *argv: str, user: str | None = None) -> None:
        before = ["setpriv", "--pdeathsig", "KILL"]  # also when the tests are killed
        before += ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
        log = open(self.folder / f"{name}.out", "ab")  # noqa: SIM115
        with log:
            self._running[name] = subprocess.Popen(
                [*before, *argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment(), cwd="/"
            )

    def _munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
        names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder / name}" for option, name in names.items()]
        self._start("munged", "munged", "--foreground", "--force", *options, user="munge")
        wait_for(lambda: (folder / "socket").exists(), 15.0, "munged")

    def _write(self) -> None:
        for name in ("munge", "state", "n1/spool", "n2/spool", "n1/disk", "n2/disk"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o755)
        ports = dict(zip(("ctld", "n1", "n2"), _free_ports(3), strict=True))
        # Control groups are named by node and job: clusters of tests that run side by side have different jobs.
        ports["first_job"] = ports["ctld"] * 1000
        conf = _CONF.format(host=socket.gethostname(), folder=self.folder, kill_wait=KILL_WAIT_S, **ports)
        (self.folder / "slurm.conf").write_text(conf)
        first = Path("/sys/fs/cgroup/memory").is_dir()
        plugin, more = ("cgroup/v1", "") if first else ("cgroup/v2", "IgnoreSystemd=yes\n")
        (self.folder / "cgroup.conf").write_text(_CGROUP.format(plugin=plugin, more=more))
        prolog = self.folder / "prolog"
        prolog.write_text(f'#!/bin/sh\necho "export TMPDIR={self.folder}/$SLURMD_NODENAME/disk"\n')
        prolog.chmod(0o755)

    # -- jobs -------------------------------------------------------------------------------------------------------

    def run(self, *argv: str, **more: str) -> str:
        """Output of a command of Slurm. Raises CalledProcessError."""
        ended = subprocess.run(
            argv, env={**self.environment(), **more}, capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        if ended.returncode != 0:
            raise RuntimeError(f"{argv}: {ended.returncode}: {ended.stdout} {ended.stderr}")
        return ended.stdout.strip()

    def job(self, job_id: str) -> dict[str, str]:
        """What `scontrol show job` prints, by field."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", job_id)))

    def state(self, job_id: str) -> str:
        return self.job(job_id)["JobState"]

    def steps(self) -> list[int]:
        """Every slurmstepd of this cluster."""
        found = []
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with suppress(OSError):
                ours = mark in Path("/proc", name, "environ").read_bytes().split(b"\0")
                if ours and Path("/proc", name, "comm").read_text().strip() == "slurmstepd":
                    found.append(int(name))
        return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def running() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
