"""Jobs from Python: `Client()` for the local home, `Client("https://…", token=…)` for a server, and AsyncClient.

Needs the extra `client`; the packages of some results (pandas, ASE, RDKit) are imported when they are asked for.
"""

from qmrunner.client.aio import AsyncClient, AsyncJobs
from qmrunner.client.blocking import Client, Job, JobList
from qmrunner.client.described import LogLine, Refusal, SomeRefusedError
from qmrunner.client.job import AsyncJob
from qmrunner.client.refusals import JobEndedError, NoWorkerWarning
from qmrunner.client.result import Result
from qmrunner.client.session import Event
from qmrunner.errors import NotFoundError, NotReadyError, QmrunnerError, UsageError

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncJobs",
    "Client",
    "Event",
    "Job",
    "JobEndedError",
    "JobList",
    "LogLine",
    "NoWorkerWarning",
    "NotFoundError",
    "NotReadyError",
    "QmrunnerError",
    "Refusal",
    "Result",
    "SomeRefusedError",
    "UsageError",
]
