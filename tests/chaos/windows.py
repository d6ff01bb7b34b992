"""The named crash windows: which process dies before or after which function. See `inject/sitecustomize.py`."""

from __future__ import annotations

from importlib import import_module

RUNTIME = "qmrunner.runtime"
# (window, role of the process that dies, module, function, before or after it)
WINDOWS: tuple[tuple[str, str, str, str, str], ...] = (
    ("committed-before-ring", "command", "qmrunner.queue", "Queue.ring", "before"),
    ("hint-taken-unclaimed", "consumer", f"{RUNTIME}.worker", "Worker._claim", "before"),
    ("claimed-unprepared", "consumer", f"{RUNTIME}.runner", "AttemptRunner._launch", "before"),
    ("prepared-unspawned", "consumer", f"{RUNTIME}.spawning", "SpawnerClient.guard", "before"),
    ("spawned-unfollowed", "consumer", f"{RUNTIME}.spawning", "SpawnerClient.guard", "after"),
    ("spawned-unrecorded", "consumer", f"{RUNTIME}.runner", "AttemptRunner._record_start", "before"),
    ("guardian-before-engine", "guardian", f"{RUNTIME}.guardian", "Guardian._start_engine", "before"),
    ("first-beat", "consumer", "qmrunner.store.workers", "beat", "before"),
    ("mid-run", "consumer", f"{RUNTIME}.follower", "Follower._take", "before"),
    ("guardian-mid-run", "guardian", f"{RUNTIME}.guardian", "Guardian._sample", "before"),
    ("exited-no-record", "guardian", f"{RUNTIME}.guardian", "Guardian._write_exit", "before"),
    ("record-untold", "guardian", f"{RUNTIME}.guardian", "Guardian._write_exit", "after"),
    ("record-uncommitted", "consumer", f"{RUNTIME}.conclusions", "Conclusions.commit", "before"),
    ("half-staged", "consumer", f"{RUNTIME}.publish", "_make_durable", "before"),
    ("staged-unpromoted", "consumer", f"{RUNTIME}.publish", "Publication.commit", "before"),
    ("promoted-uncommitted", "consumer", f"{RUNTIME}.publish", "Publication.commit", "after"),
    ("result-written-uncommitted", "consumer", f"{RUNTIME}.publish", "write_job_result", "after"),
    ("committed-uncleaned", "consumer", f"{RUNTIME}.conclusions", "Conclusions._clean", "before"),
    ("mid-removal", "consumer", f"{RUNTIME}.removal", "_Removal._empty", "after"),
    ("adoption-before-look", "consumer", f"{RUNTIME}.adoption", "_state_of", "before"),
    ("adoption-before-release", "consumer", f"{RUNTIME}.adoption", "_release", "before"),
    ("drain", "consumer", f"{RUNTIME}.attempt", "LiveSet.stop", "before"),
    ("sweep-planned", "supervisor", f"{RUNTIME}.passes", "apply_all", "before"),
    ("supervisor-registered", "supervisor", "qmrunner.store.workers", "register", "after"),
    ("supervisor-tailing", "supervisor", f"{RUNTIME}.tail", "Tailer._save_offset", "before"),
    ("spawner-ending-orphans", "spawner", f"{RUNTIME}.tree", "end_subtrees", "before"),
)
# Made by wrapping `os.fork` itself.
FORKS = ("forked-unanswered", "engine-forked-unrecorded")
NAMES = tuple(window for window, *_ in WINDOWS) + FORKS


def missing() -> list[str]:
    """Windows whose function the program no longer has."""
    found = []
    for window, _, module, function, _ in WINDOWS:
        owner: object = import_module(module)
        for name in function.split("."):
            owner = getattr(owner, name, None)
        if owner is None:
            found.append(window)
    return found
