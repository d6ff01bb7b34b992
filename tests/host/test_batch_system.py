"""What a batch system granted, from the variables of a job; Slurm's: sbatch(1), OUTPUT ENVIRONMENT VARIABLES."""

from __future__ import annotations

import pytest

from qmrunner.host import batch_system, capacity
from qmrunner.settings import load

JOB = {"SLURM_JOB_ID": "7"}


@pytest.mark.parametrize(
    ("given", "mib"),
    [
        ({"SLURM_MEM_PER_NODE": "4000"}, 4000),
        ({"SLURM_MEM_PER_NODE": "4G"}, 4096),
        ({"SLURM_MEM_PER_NODE": "2097152K"}, 2048),
        ({"SLURM_MEM_PER_CPU": "750", "SLURM_CPUS_ON_NODE": "2"}, 1500),
        ({"SLURM_MEM_PER_CPU": "750", "SLURM_JOB_CPUS_PER_NODE": "4(x2),2"}, 3000),
        ({"SLURM_MEM_PER_GPU": "8000", "SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_ON_NODE": "8"}, 16000),
        ({"SLURM_MEM_PER_GPU": "8000", "SLURM_JOB_GPUS": "0,2-3", "SLURM_CPUS_ON_NODE": "8"}, 24000),
        ({"SLURM_MEM_PER_GPU": "8000", "SLURM_JOB_GPUS": "gpu:a", "SLURM_CPUS_ON_NODE": "8"}, None),
        ({"SLURM_MEM_PER_CPU": "750", "SLURM_CPUS_ON_NODE": "2", "SLURM_MEM_PER_NODE": "4000"}, 1500),
        ({"SLURM_MEM_PER_NODE": "UNLIMITED"}, None),
        ({"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_ON_NODE": "2"}, None),  # --mem=0: all of the node
        ({"SLURM_MEM_PER_CPU": "0", "SLURM_CPUS_ON_NODE": "2"}, None),
        ({"SLURM_MEM_PER_CPU": "750"}, None),
        ({"SLURM_MEM_PER_NODE": "much"}, None),
        ({}, None),
    ],
)
def test_every_variable_for_memory_is_read(given: dict[str, str], mib: int | None) -> None:
    assert batch_system.memory_mib({**JOB, **given}) == mib


@pytest.mark.parametrize(
    ("given", "cores"),
    [
        ({"SLURM_CPUS_ON_NODE": "16"}, 16),
        ({"SLURM_JOB_CPUS_PER_NODE": "72(x2),36"}, 72),
        ({"SLURM_CPUS_ON_NODE": "4(x2)"}, 4),
        ({"SLURM_CPUS_ON_NODE": " 8 "}, 8),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_JOB_CPUS_PER_NODE": "16,8", "SLURM_CPUS_PER_TASK": "2"}, 8),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_HET_SIZE": "2"}, 8),
        ({"SLURM_CPUS_ON_NODE": "-1"}, None),
        ({"SLURM_CPUS_ON_NODE": "99999999999999999999"}, None),
        ({"SLURM_CPUS_ON_NODE": "0"}, None),
        ({"SLURM_CPUS_ON_NODE": ""}, None),
    ],
)
def test_the_processors_are_those_of_this_node(given: dict[str, str], cores: int | None) -> None:
    assert batch_system.cores({**JOB, **given}) == cores


@pytest.mark.parametrize(
    ("given", "cores"),
    [
        ({"PBS_JOBID": "7.head", "NCPUS": "4", "PBS_NODEFILE": "/x"}, 4),
        ({"PBS_JOBID": "7.head", "PBS_NUM_NODES": "1", "PBS_NUM_PPN": "1", "PBS_NP": "8"}, 8),
        ({"PBS_JOBID": "7.head", "PBS_NUM_NODES": "2", "PBS_NUM_PPN": "4", "PBS_NP": "8"}, 4),
        ({"PBS_JOBID": "7.head"}, None),
        ({"NCPUS": "4"}, None),
        ({"JOB_ID": "7", "NSLOTS": "4", "NHOSTS": "1"}, 4),
        ({"JOB_ID": "7", "NSLOTS": "8", "NHOSTS": "2"}, 4),
        ({"JOB_ID": "7", "NSLOTS": "2", "NHOSTS": "4"}, 1),
        ({"JOB_ID": "7", "NSLOTS": "4"}, 4),
        ({"JOB_ID": "a name of something else"}, None),
        ({"LSB_JOBID": "7", "LSB_MCPU_HOSTS": "n1 4 n2 2", "LSB_DJOB_NUMPROC": "6"}, 4),
        ({"LSB_JOBID": "7", "LSB_MCPU_HOSTS": "n1", "LSB_DJOB_NUMPROC": "6"}, 6),
        ({"LSB_JOBID": "7", "LSB_DJOB_NUMPROC": "many"}, None),
        ({**JOB, "SLURM_CPUS_ON_NODE": "16", "JOB_ID": "7", "NSLOTS": "4"}, 4),
    ],
)
def test_other_batch_systems_are_asked_as_well(given: dict[str, str], cores: int | None) -> None:
    """PBS Pro and OpenPBS, Torque, Grid Engine, LSF, by the variables of their manuals."""
    assert batch_system.cores(given) == cores


def test_outside_a_job_nothing_is_granted() -> None:
    assert batch_system.memory_mib({"SLURM_MEM_PER_NODE": "4000"}) is None
    assert batch_system.cores({"SLURM_CPUS_ON_NODE": "1"}) is None


def test_a_worker_grants_no_more_than_its_job_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**JOB, "SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_CPU": "700"}.items():
        monkeypatch.setenv(name, value)
    found = capacity.capacity(load({}))
    assert (found.cores, found.memory_mib) == (1, 630)
