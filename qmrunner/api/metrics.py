"""/metrics: figures of the store, read at each scrape, and counters of this server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qmrunner.api.event_counters import Tally
from qmrunner.api.service import Service
from qmrunner.store import counts, events, reservations, workers

_EVENTS_AT_ONCE = 50_000
# Rows of other workers' transactions may become visible out of order: rows younger than this wait for the next scrape.
_SETTLED_AFTER_S = 5.0
_MIB = 2**20


class Metrics:
    """One registry for one server. Totals cover the store's whole history, which is read once and then
    incrementally."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._tally = Tally()
        self._lock = Lock()

    def scrape(self, service: Service) -> bytes:
        """The text for Prometheus. Raises StoreUnavailable."""
        with self._lock:
            registry = CollectorRegistry(auto_describe=False)
            registry.register(_Fixed([*self._of_store(service), *_of_server(service)]))
            return generate_latest(registry)

    def _of_store(self, service: Service) -> Iterator[Metric]:
        store = service.app.store
        with store.read() as connection:
            now = store.now()
            before = None if store.is_sqlite else now - _SETTLED_AFTER_S
            self._tally.add(events.all_since(connection, self._tally.last, _EVENTS_AT_ONCE, before))
            unread = events.newest(connection) - self._tally.last
            found = counts.now(connection)
            rows = workers.all_workers(connection)
            held = reservations.by_worker(connection)
        yield _gauge("queue_depth", "Steps that are ready to be claimed.", found.steps.get("ready", 0))
        yield _gauge("jobs", "Unfinished jobs by state.", found.jobs, "state")
        yield _gauge("steps", "Unfinished steps by state.", found.steps, "state")
        yield _gauge("running", "Running attempts by engine.", found.running, "engine")
        yield _gauge("orphaned_attempts", "Attempts of dead workers that have not been released yet.", found.orphaned)
        yield _gauge("events_unread", "Events that are not counted in the totals yet.", max(0, unread))
        yield from self._tally.families()
        yield from _of_workers(service, rows, held, found.working, now)


def _of_workers(
    service: Service, rows: list[dict[str, Any]], held: dict[int, Any], working: set[int], now: float
) -> Iterator[Metric]:
    ages = {row["id"]: max(0.0, now - row["beat_at"]) for row in rows}
    yield _gauge("workers", "Workers that have not ended, by state.", Counter(row["state"] for row in rows), "state")
    yield _labelled(
        "worker_heartbeat_age_seconds",
        "Seconds since the last heartbeat of a worker.",
        rows,
        lambda row: ages[row["id"]],
    )
    leases = [age for worker, age in ages.items() if worker in working]
    if leases:
        yield _gauge("lease_age_seconds", "Age of the oldest heartbeat of workers with running attempts.", max(leases))
    yield _gauge(
        "lease_seconds",
        "Age of a heartbeat from which such a worker is declared lost.",
        service.app.settings.lease_seconds,
    )
    for name, scale in (("cores", 1), ("memory_mib", _MIB), ("scratch_mib", _MIB), ("shm_mib", _MIB)):
        word = name.replace("_mib", "_bytes")
        known = [row for row in rows if row[name] is not None]
        yield _labelled(f"worker_{word}", "Capacity of a worker.", known, lambda row, n=name, s=scale: row[n] * s)
        yield _labelled(
            f"worker_reserved_{word}",
            "Reserved by the attempts of a worker.",
            known,
            lambda row, n=name, s=scale: getattr(held[row["id"]], n) * s if row["id"] in held else 0,
        )


def _of_server(service: Service) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "qmrunner_api_requests", "Requests answered by this server.", labels=["method", "route", "status"]
    )
    for labels, count in sorted(service.requests.items()):
        requests.add_metric(list(labels), count)
    yield requests
    yield _gauge("api_streams", "Open streams of this server.", service.streams.taken)
    over = CounterMetricFamily(
        "qmrunner_api_over_share", "Requests refused because no slot was free.", labels=["places"]
    )
    for shares in (service.streams, service.downloads, service.uploads, service.questions):
        over.add_metric([shares.name], shares.refused)
    yield over
    yield CounterMetricFamily("qmrunner_api_refused", "Requests over the rate limit.", value=service.rate.refused)


def _gauge(name: str, about: str, value: Any, label: str | None = None) -> GaugeMetricFamily:
    if label is None:
        return GaugeMetricFamily(f"qmrunner_{name}", about, value=value)
    family = GaugeMetricFamily(f"qmrunner_{name}", about, labels=[label])
    for word, count in sorted(value.items()):
        family.add_metric([word], count)
    return family


def _labelled(name: str, about: str, rows: list[dict[str, Any]], value: Any) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"qmrunner_{name}", about, labels=["worker", "name"])
    for row in rows:
        family.add_metric([str(row["id"]), row["name"]], value(row))
    return family


class _Fixed:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
