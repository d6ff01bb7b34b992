"""Limits of control groups: of the group itself and of every ancestor, for v1, v2, containers and namespaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qmrunner.guardian import cgroup

GIB = 1 << 30
JOB = "slurm_n1/uid_1000/job_7"
V2 = f"0::/{JOB}/step_batch/user\n"
V1 = f"9:memory:/{JOB}/step_batch\n8:cpu,cpuacct:/{JOB}\n3:pids:/{JOB}\n0::/init.scope\n"


@pytest.fixture
def cgroup_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Reads the tree in another folder from now on."""

    def read(folder: Path) -> None:
        monkeypatch.setattr(cgroup, "_ROOT", str(folder / "fs"))
        monkeypatch.setattr(cgroup, "_OWN", str(folder / "own"))

    return read


@pytest.fixture
def groups(tmp_path: Path, cgroup_of: Callable[[Path], None]) -> Path:
    cgroup_of(tmp_path)
    return tmp_path


def make(groups: Path, own: str) -> None:
    groups.mkdir(exist_ok=True)
    (groups / "own").write_text(own)


def put(groups: Path, folder: str, name: str, text: str) -> None:
    path = groups / "fs" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("at", [f"{JOB}/step_batch/user", f"{JOB}/step_batch", JOB, "slurm_n1", "."])
def test_the_memory_limit_of_any_ancestor_counts_in_v2(groups: Path, at: str) -> None:
    make(groups, V2)
    for folder in (f"{JOB}/step_batch/user", f"{JOB}/step_batch", JOB, "slurm_n1/uid_1000", "slurm_n1"):
        put(groups, folder, "memory.max", "max\n")
    put(groups, at, "memory.max", f"{GIB}\n")
    assert cgroup.memory_limit_bytes() == GIB


@pytest.mark.parametrize("at", [f"{JOB}/step_batch", JOB, "slurm_n1", "."])
def test_the_memory_limit_of_any_ancestor_counts_in_v1(groups: Path, at: str) -> None:
    make(groups, V1)
    for folder in (f"{JOB}/step_batch", JOB, "slurm_n1/uid_1000", "slurm_n1", "."):
        put(groups, f"memory/{folder}", "memory.limit_in_bytes", "9223372036854771712\n")
    put(groups, f"memory/{at}", "memory.limit_in_bytes", f"{GIB}\n")
    assert cgroup.memory_limit_bytes() == GIB


def test_the_least_of_several_limits_counts(groups: Path) -> None:
    make(groups, V2)
    put(groups, f"{JOB}/step_batch/user", "memory.max", f"{3 * GIB}\n")
    put(groups, JOB, "memory.max", f"{2 * GIB}\n")
    put(groups, "slurm_n1", "memory.max", f"{4 * GIB}\n")
    assert cgroup.memory_limit_bytes() == 2 * GIB


def test_quota_and_processes_of_ancestors_count_too(groups: Path) -> None:
    make(groups, V2)
    put(groups, f"{JOB}/step_batch/user", "cpu.max", "max 100000\n")
    put(groups, JOB, "cpu.max", "150000 100000\n")
    put(groups, "slurm_n1", "cpu.max", "400000 100000\n")
    put(groups, f"{JOB}/step_batch/user", "pids.max", "max\n")
    put(groups, f"{JOB}/step_batch/user", "pids.current", "10\n")
    put(groups, JOB, "pids.max", "100\n")
    put(groups, JOB, "pids.current", "60\n")
    assert cgroup.cpu_quota() == 1.5
    assert cgroup.tasks_left() == 40


def test_controllers_mounted_together_are_found_in_v1(groups: Path) -> None:
    make(groups, V1)
    put(groups, f"cpu,cpuacct/{JOB}", "cpu.cfs_quota_us", "-1\n")
    put(groups, f"cpu,cpuacct/{JOB}", "cpu.cfs_period_us", "100000\n")
    put(groups, "cpu,cpuacct/slurm_n1", "cpu.cfs_quota_us", "200000\n")
    put(groups, "cpu,cpuacct/slurm_n1", "cpu.cfs_period_us", "100000\n")
    assert cgroup.cpu_quota() == 2


@pytest.mark.parametrize("own", ["0::/\n", "0::/docker/4f1c\n", "0::/../../other\n", "5:memory:/docker/4f1c\n"])
def test_in_a_container_the_files_at_the_root_are_the_groups_own(groups: Path, own: str) -> None:
    make(groups, own)
    put(
        groups, "memory" if "memory" in own else ".", "memory.max" if "::" in own else "memory.limit_in_bytes", str(GIB)
    )
    assert cgroup.memory_limit_bytes() == GIB


def test_nothing_is_limited_without_a_file_of_limits(groups: Path) -> None:
    assert (cgroup.memory_limit_bytes(), cgroup.cpu_quota(), cgroup.tasks_left()) == (None, None, None)
    make(groups, V2)
    put(groups, JOB, "memory.max", "max\n")
    put(groups, JOB, "cpu.max", "nonsense\n")
    put(groups, JOB, "pids.max", "max\n")
    assert (cgroup.memory_limit_bytes(), cgroup.cpu_quota(), cgroup.tasks_left()) == (None, None, None)


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        (V2, {f"{JOB}/memory.high": f"{GIB}\n", f"{JOB}/memory.max": f"{2 * GIB}\n"}, GIB),
        (V2, {f"{JOB}/memory.high": "max\n", f"{JOB}/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ("0::/user.slice/user-7.slice/session-1.scope\n", {"user.slice/user-7.slice/memory.max": f"{GIB}\n"}, GIB),
        ("0::/system-slurm\\x2dd.slice/a:b\n", {"system-slurm\\x2dd.slice/a:b/memory.max": f"{GIB}\n"}, GIB),
        ("0::/gone (deleted)\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("nonsense\n\n1:2\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("", {"memory.max": f"{GIB}\n"}, GIB),
        (V2, {f"{JOB}/memory.max": "\n", f"{JOB}/memory.high": "lots\n"}, None),
        (V2, {f"{JOB}/memory.max": "\u0661\n"}, None),
    ],
    ids=[
        "high",
        "no high",
        "user slice",
        "escaped and colon",
        "deleted",
        "nonsense",
        "nothing",
        "empty",
        "foreign digit",
    ],
)
def test_odd_groups_and_files_are_read_or_passed_over(
    groups: Path, own: str, files: dict[str, str], limit: int | None
) -> None:
    make(groups, own)
    for name, text in files.items():
        folder, _, file = name.rpartition("/")
        put(groups, folder or ".", file, text)
    assert cgroup.memory_limit_bytes() == limit


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "50000\n"}, 0.5),
        ({"cpu.max": "max\n"}, None),
        ({"cpu.max": "100000 0\n"}, None),
        ({"cpu.max": ""}, None),
        ({"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu.cfs_quota_us": "", "cpu.cfs_period_us": ""}, None),
        ({"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "0\n"}, None),
        ({"cpu.cfs_quota_us": "50000\n"}, None),
        ({"cpu.cfs_quota_us": "x\n", "cpu.cfs_period_us": "y\n"}, None),
    ],
)
def test_a_quota_that_makes_no_sense_limits_nothing(groups: Path, files: dict[str, str], quota: float | None) -> None:
    make(groups, "0::/\n")
    for name, text in files.items():
        put(groups, ".", name, text)
    assert cgroup.cpu_quota() == quota


def test_kills_are_those_of_the_group_itself(groups: Path) -> None:
    make(groups, V2)
    put(groups, f"{JOB}/step_batch/user", "memory.events", "oom 3\noom_kill 2\n")
    put(groups, JOB, "memory.events", "oom_kill 9\n")
    assert cgroup.oom_kills() == 2


POD = "kubepods.slice/kubepods-burstable.slice/kubepods-pod7.slice/cri-containerd-9.scope"
SLURM = "system.slice/slurmstepd.scope/job_7/step_batch/user/task_0"
USER = "user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope"


@pytest.mark.parametrize("group", [POD, SLURM, USER, ""], ids=["pod", "slurm", "user", "root"])
@pytest.mark.parametrize(
    ("found", "limits"),
    [
        ({"memory.max": "{0}"}, {"memory": 0}),
        ({"memory.high": "{0}"}, {"memory": 0}),
        ({"memory.max": "{1}", "memory.high": "{0}"}, {"memory": 0}),
        ({"memory.max": "{0}", "memory.high": "{1}"}, {"memory": 0}),
        ({"memory.max": "max", "memory.high": "max", "memory.swap.max": "{0}", "memory.low": "{0}"}, {}),
        ({"memory.max": "{0}", "memory.min": "{1}"}, {"memory": 0}),
        ({"cpu.max": "200000 100000"}, {"cpu": 2}),
        ({"cpu.max": "max 100000", "cpu.weight": "100"}, {}),
        ({"pids.max": "500", "pids.current": "100"}, {"pids": 400}),
        ({"pids.max": "max", "pids.current": "100"}, {}),
        ({"pids.max": "500"}, {}),
        ({"cgroup.controllers": "cpuset io", "memory.pressure": "some avg10=0.00"}, {}),
    ],
)
def test_a_limit_at_any_level_of_a_tree_of_v2_counts(
    groups: Path, cgroup_of: Callable[[Path], None], group: str, found: dict[str, str], limits: dict[str, int]
) -> None:
    """At each level in turn; the other levels have `max`, or no files where the controller is not enabled for them."""
    sizes = (2 * GIB, 3 * GIB)
    parts = group.split("/") if group else []
    levels = ["/".join(parts[:count]) or "." for count in range(len(parts) + 1)]
    for others in ({"memory.max": "max\n", "memory.high": "max\n", "cpu.max": "max 100000\n", "pids.max": "max\n"}, {}):
        for at in levels:
            root = groups / f"{'all' if others else 'few'}-{levels.index(at)}"
            make(root, f"0::/{group}\n")
            for level in levels:
                for name, text in {**others, **(found if level == at else {})}.items():
                    put(root, level, name, text.format(*sizes) + "\n")
            cgroup_of(root)
            assert cgroup.memory_limit_bytes() == (sizes[limits["memory"]] if "memory" in limits else None)
            assert cgroup.cpu_quota() == limits.get("cpu")
            assert cgroup.tasks_left() == limits.get("pids")


@pytest.mark.parametrize(
    ("own", "at", "seen"),
    [
        ("0::/\n", ".", True),  # a cgroup namespace: the mount shows this group as its root
        (f"0::/{POD}\n", POD, True),  # no namespace, all groups mounted
        (f"0::/{POD}\n", ".", True),  # no namespace, only this group mounted, as its root
        ("0::/../cri-containerd-9.scope\n", ".", True),  # seen from the namespace of a sibling
        ("0::/../../../../system.slice/x.service\n", "system.slice/x.service", True),
        (f"0::/{POD}\n", "kubepods.slice/other.slice", False),
        (f"1:name=systemd:/\n0::/{POD}\n", f"unified/{POD}", True),  # hybrid
    ],
)
def test_groups_are_found_in_and_outside_of_namespaces(groups: Path, own: str, at: str, seen: bool) -> None:
    make(groups, own)
    put(groups, at, "memory.max", f"{GIB}\n")
    put(groups, at, "cpu.max", "150000 100000\n")
    put(groups, at, "memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 1\n")
    assert cgroup.memory_limit_bytes() == (GIB if seen else None)
    assert cgroup.cpu_quota() == (1.5 if seen else None)
    assert cgroup.oom_kills() == (2 if seen else None)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({f"{POD}/memory.oom.group": "1\n"}, True),
        ({"kubepods.slice/memory.oom.group": "1\n", f"{POD}/memory.oom.group": "0\n"}, True),
        ({f"{POD}/memory.oom.group": "0\n"}, False),
        ({"kubepods.slice/other.slice/memory.oom.group": "1\n"}, False),
        ({f"{POD}/memory.oom.group": ""}, False),
        ({}, False),
    ],
)
def test_a_group_of_which_the_kernel_ends_all_processes_is_recognised(
    groups: Path, files: dict[str, str], expected: bool
) -> None:
    make(groups, f"0::/{POD}\n")
    for name, text in files.items():
        put(groups, *name.rsplit("/", 1), text)
    assert cgroup.oom_kills_all() is expected
