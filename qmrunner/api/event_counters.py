"""Totals from the store's history: each event counts once, whenever it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_INTERRUPTED = ("attempt_lost", "attempt_stopped")
_ENDED = ("job_succeeded", "job_failed", "job_cancelled")


class Tally:
    """`last` is the id of the newest event that was counted."""

    def __init__(self) -> None:
        self.last = 0
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._jobs: Counter[tuple[str, str]] = Counter()
        self._plain: Counter[str] = Counter()
        self._survivors = 0
        self._interrupted: dict[str, dict[str, float]] = {}
        self._recovered: Counter[float] = Counter()
        self._recovery_s = 0.0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count events, given in the order of their ids."""
        for row in rows:
            self.last = row["id"]
            self._count(row, row["event"], row["data"].get("code") or "ok")

    def _count(self, row: Mapping[str, Any], event: str, code: str) -> None:
        job, step = row["job_id"], row["step"]
        self._plain[event] += 1
        if event.startswith("attempt_") and event != "attempt_fenced":
            self._attempts[event.removeprefix("attempt_"), code] += 1
            self._survivors += row["data"].get("survivors", 0)
            if event in _INTERRUPTED and row["data"].get("next") == "requeue":
                self._interrupted.setdefault(job, {})[step] = row["at"]
        elif event == "step_claimed":
            since = self._interrupted.get(job, {}).pop(step, None)
            if since is not None:
                self._recover(max(0.0, row["at"] - since))
        elif event in _ENDED:
            self._jobs[event.removeprefix("job_"), code] += 1
            self._interrupted.pop(job, None)

    def _recover(self, seconds: float) -> None:
        self._recovered[next((edge for edge in BUCKETS_S if seconds <= edge), float("inf"))] += 1
        self._recovery_s += seconds

    def families(self) -> Iterator[Metric]:
        """The totals so far."""
        yield _counter("attempts", "Ended attempts by outcome.", self._attempts)
        yield _counter("jobs_ended", "Ended jobs by outcome.", self._jobs)
        for event, name, about in (
            ("job_accepted", "jobs_accepted", "Jobs submitted."),
            ("attempt_fenced", "fenced_writes", "Outcomes discarded because another attempt owned the step by then."),
            ("worker_dead", "workers_lost", "Workers declared dead."),
            ("consumer_died", "consumers_died", "Consumers that died and were replaced."),
            ("step_remedied", "remedies", "Automatic changes to failed steps."),
        ):
            yield CounterMetricFamily(f"qmrunner_{name}", about, value=self._plain[event])
        yield CounterMetricFamily(
            "qmrunner_orphan_processes", "Processes that outlived their engine and were killed.", value=self._survivors
        )
        yield self._recovery()

    def _recovery(self) -> HistogramMetricFamily:
        count, buckets = 0, []
        for edge in (*BUCKETS_S, float("inf")):
            count += self._recovered[edge]
            buckets.append(("+Inf" if edge == float("inf") else str(edge), count))
        about = "Seconds from the record of a lost or stopped attempt to the next claim of its step."
        return HistogramMetricFamily("qmrunner_recovery_seconds", about, buckets=buckets, sum_value=self._recovery_s)


def _counter(name: str, about: str, values: Mapping[tuple[str, str], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"qmrunner_{name}", about, labels=["state", "code"])
    for labels, count in sorted(values.items()):
        family.add_metric(list(labels), count)
    return family
