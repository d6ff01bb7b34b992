# %% [markdown]
# # A Huey application under qmrunner
#
# The application is unchanged. `qmrunner run -- huey_consumer …` starts it, and its tasks are jobs that the client
# sees.

# %%
import atexit
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from qmrunner.client import Client

folder = Path(tempfile.mkdtemp(prefix="qmrunner-example-"))
(folder / "lab.py").write_text(
    """from huey import SqliteHuey

huey = SqliteHuey("lab", filename="lab.db")


@huey.task()
def weigh(formula):
    print("weighing", formula)
    return {"H2O": 18.015}[formula]
"""
)
environment = {**os.environ, "QMRUNNER_HOME": str(folder / "home"), "PYTHONPATH": str(folder)}
consumer = str(Path(sys.executable).with_name("huey_consumer"))
worker = subprocess.Popen(
    [sys.executable, "-m", "qmrunner", "run", "--", consumer, "lab.huey", "-w", "1", "-k", "process"],
    env=environment, cwd=folder, stdout=subprocess.DEVNULL,
)  # fmt: skip
atexit.register(worker.terminate)  # also if a cell fails

# %% [markdown]
# The application enqueues as always, in a separate process. It gets its result from Huey.

# %%
code = "import lab; task = lab.weigh('H2O'); print(task.id, task.get(blocking=True, timeout=120))"
printed = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
print(printed.stdout, printed.stderr)

# %% [markdown]
# The same task as a job: its state, its output, and `why` if it had failed.

# %%
client = Client(folder / "home")
(job,) = client.jobs("kind:huey")
job.wait(progress=True)
print(job.name, job.state)
print(*job.logs(), sep="\n")

# %%
client.close()
worker.send_signal(signal.SIGTERM)
worker.wait()
