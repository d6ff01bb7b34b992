import json
import os
from pathlib import Path


def folder(job):
    path = Path("data/jobs") / str(job)
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_state(job, state):
    path = folder(job)
    with open(path / "history", "a") as file:
        file.write(f"{os.getpid()} {state}\n")
    temporary = path / f"state.{os.getpid()}"
    temporary.write_text(json.dumps({"state": state}))
    temporary.rename(path / "state.json")
