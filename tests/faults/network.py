"""Machines that are network namespaces: one with the servers, one for each worker, each wired to the first alone.

Faults are rules of iptables within a worker's namespace. The host's own network only gets one interface more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Literal

from tests.support import missing

Direction = Literal["both", "in", "out"]
POSTGRES, STANDBY, REDIS = 5432, 5433, 6379
_NEEDED = {"ip": "iproute2", "iptables": "iptables", "unshare": "util-linux", "runuser": "util-linux"}


class Network:
    """Number 0 is this host, as the people's own machine; workers are numbered from 1."""

    def __init__(self, machines: int) -> None:
        self._mark = f"qmf{os.getpid() % 1000000:x}"
        self._octet = 180 + os.getpid() % 60
        self.hub = f"{self._mark}-hub"
        self._machines = range(1, machines + 1)

    def __enter__(self) -> Network:
        for program, package in _NEEDED.items():
            if shutil.which(program) is None:
                missing(f"{program} is not installed (Debian: apt-get install {package})")
        if os.geteuid() != 0:
            missing("network namespaces need root")
        try:
            self._make(self.hub)
            for number in self._machines:
                self._make(self.name(number))
            for number in (0, *self._machines):
                self._wire(number)
        except subprocess.CalledProcessError as problem:
            self._clear_away()
            missing(f"network namespaces cannot be made here: {problem.stderr.decode().strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._clear_away()

    def name(self, number: int) -> str:
        return f"{self._mark}-{number}"

    def address(self, number: int) -> str:
        """Of the servers, as that machine sees them."""
        return f"10.{self._octet}.{number}.1"

    def inside(self, name: str) -> list[str]:
        """The words that run what follows in a namespace."""
        return ["ip", "netns", "exec", name]

    def drop(self, number: int, port: int, direction: Direction = "both") -> None:
        """From now on packets between that machine and a server vanish without a notice."""
        for rule in self._rules(port, direction):
            self._iptables(self.name(number), *rule, "-j", "DROP")

    def lose(self, number: int, share: float) -> None:
        """From now on that share of all packets vanishes, each way."""
        for chain in ("INPUT", "OUTPUT"):
            chance = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
            self._iptables(self.name(number), "-A", chain, "-p", "tcp", *chance, "-j", "DROP")

    def heal(self, number: int) -> None:
        self._iptables(self.name(number), "-F")

    def redirect(self, port: int, to: int) -> None:
        """New connections to one server's port reach another one's, as after a failover behind one address."""
        rule = ["-p", "tcp", "--dport", str(port), "-j", "REDIRECT", "--to-ports", str(to)]
        self._iptables(self.hub, "-t", "nat", "-A", "PREROUTING", *rule)

    def forget_redirects(self) -> None:
        self._iptables(self.hub, "-t", "nat", "-F", "PREROUTING")

    @staticmethod
    def _rules(port: int, direction: Direction) -> list[list[str]]:
        out = ["-A", "OUTPUT", "-p", "tcp", "--dport", str(port)]
        back = ["-A", "INPUT", "-p", "tcp", "--sport", str(port)]
        return {"both": [out, back], "out": [out], "in": [back]}[direction]

    def _iptables(self, name: str, *words: str) -> None:
        _run(*self.inside(name), "iptables", "-w", "10", *words)

    def _make(self, name: str) -> None:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")

    def _wire(self, number: int) -> None:
        here, there = f"{self._mark}w{number}", f"{self._mark}h{number}"
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", self.hub)
        _run("ip", "-n", self.hub, "addr", "add", f"{self.address(number)}/30", "dev", there)
        _run("ip", "-n", self.hub, "link", "set", there, "up")
        place = ["-n", self.name(number)] if number else []
        if number:
            _run("ip", "link", "set", here, "netns", self.name(number))
        _run("ip", *place, "addr", "add", f"10.{self._octet}.{number}.2/30", "dev", here)
        _run("ip", *place, "link", "set", here, "up")

    def _clear_away(self) -> None:
        for name in (self.hub, *map(self.name, self._machines)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
