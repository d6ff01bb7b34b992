# %% [markdown]
# # A killed worker, and what the client saw
#
# This example starts its own worker on a new home, and kills it with SIGKILL while a job runs.

# %%
import atexit
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from qmrunner.client import Client

home = Path(tempfile.mkdtemp(prefix="qmrunner-example-")) / "home"


def start_worker() -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "qmrunner", "run"],
        env={**os.environ, "QMRUNNER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    atexit.register(worker.terminate)  # also if a cell fails
    return worker


worker = start_worker()

# %%
client = Client(home)
job = client.submit_nmr("C", level="quick", name="methane")
for event in job.events(follow=True):
    print(event.data["at"], event.name, event.data["step"] or "")
    if event.name == "step_claimed" and event.data["step"].startswith("shielding"):
        break

# %% [markdown]
# Now the worker dies, with all of qmrunner but the engine's guardian. The job stays as it was; nothing fails.

# %%
worker.send_signal(signal.SIGKILL)
worker.wait()
print("killed; the job is", job.refresh().state)

# %% [markdown]
# The next worker adopts the running engine, or runs the step again if it has ended with the worker.

# %%
worker = start_worker()
job.wait(progress=True)
print(job.state, job.result.shifts.shift_ppm.tolist())
for row in job.why()["attempts"]:
    print(row["step"], row["attempt"], row["state"], row["code"])

# %%
client.close()
worker.send_signal(signal.SIGTERM)
worker.wait()
