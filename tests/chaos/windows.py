"""The named crash windows: which process dies before or after which function. See `inject/sitecustomize.py`."""

from __future__ import annotations

from importlib import import_module

# (window, role of the process that dies, module, function, before or after it)
WINDOWS: tuple[tuple[str, str, str, str, str], ...] = (
    ("committed-before-ring", "command", "qmrunner.queue", "Queue.notify", "before"),
    ("hint-taken-unclaimed", "consumer", "qmrunner.worker.claim_loop", "Worker._claim", "before"),
    ("claimed-unprepared", "consumer", "qmrunner.attempt.runner", "AttemptRunner._launch", "before"),
    ("prepared-unspawned", "consumer", "qmrunner.attempt.spawner_client", "SpawnerClient.spawn_guardian", "before"),
    ("spawned-unfollowed", "consumer", "qmrunner.attempt.spawner_client", "SpawnerClient.spawn_guardian", "after"),
    ("spawned-unrecorded", "consumer", "qmrunner.attempt.runner", "AttemptRunner._record_start", "before"),
    ("guardian-before-engine", "guardian", "qmrunner.guardian.process", "Guardian._start_engine", "before"),
    ("first-beat", "consumer", "qmrunner.store.workers", "beat", "before"),
    ("mid-run", "consumer", "qmrunner.attempt.monitor", "Follower._read_messages", "before"),
    ("guardian-mid-run", "guardian", "qmrunner.guardian.process", "Guardian._sample", "before"),
    ("exited-no-record", "guardian", "qmrunner.guardian.process", "Guardian._write_exit", "before"),
    ("record-untold", "guardian", "qmrunner.guardian.process", "Guardian._write_exit", "after"),
    ("record-uncommitted", "consumer", "qmrunner.attempt.commit", "AttemptCommitter.commit", "before"),
    ("half-staged", "consumer", "qmrunner.attempt.publish", "flush", "before"),
    ("staged-unpromoted", "consumer", "qmrunner.attempt.publish", "Publication.commit", "before"),
    ("promoted-uncommitted", "consumer", "qmrunner.attempt.publish", "Publication.commit", "after"),
    ("result-written-uncommitted", "consumer", "qmrunner.attempt.publish", "write_job_result", "after"),
    ("committed-uncleaned", "consumer", "qmrunner.attempt.commit", "AttemptCommitter._clean", "before"),
    ("mid-removal", "consumer", "qmrunner.host.remove_tree", "_Removal._empty", "after"),
    ("adoption-before-look", "consumer", "qmrunner.worker.adoption", "_state_of", "before"),
    ("adoption-before-release", "consumer", "qmrunner.worker.adoption", "_release", "before"),
    ("drain", "consumer", "qmrunner.attempt.active", "ActiveAttempts.stop", "before"),
    ("sweep-planned", "supervisor", "qmrunner.maintenance", "apply_all", "before"),
    ("supervisor-registered", "supervisor", "qmrunner.store.workers", "register", "after"),
    ("supervisor-tailing", "supervisor", "qmrunner.supervisor.log_forwarder", "LogForwarder._save_offset", "before"),
    ("spawner-ending-orphans", "spawner", "qmrunner.guardian.process_tree", "end_subtrees", "before"),
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
