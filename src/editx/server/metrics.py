"""What Prometheus reads at /metrics."""

from __future__ import annotations

import os

import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from editx.backends.base import Backend
from editx.lifecycle import Event
from editx.lifecycle.events import UNLOAD_REASONS
from editx.studio import Result

_ADMITTED = ("/v1/audio/speech", "/v1/audio/speech/upload", "/v1/audio/edits")
"""Routes that refuse requests when the queue is full."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters and histograms of one server. Thread-safe; nothing here wakes a model."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        self._requests = Counter("editx_requests", "HTTP requests.", ["method", "route", "status"], registry=r)
        self._latency = Histogram(
            "editx_request_seconds", "Time from request to the last byte.", ["route"], buckets=_SECONDS, registry=r
        )
        self._audio = Counter("editx_audio_seconds", "Audio produced, in seconds.", ["variant"], registry=r)
        self._rtf = Histogram(
            "editx_real_time_factor",
            "Seconds of work per second of audio.",
            ["variant"],
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=r,
        )
        self._first_audio = Histogram(
            "editx_time_to_first_audio_seconds",
            "From request to first audio.",
            ["variant"],
            buckets=_SECONDS,
            registry=r,
        )
        self._waits = Histogram(
            "editx_queue_seconds", "Time spent waiting for a turn.", ["variant"], buckets=_SECONDS, registry=r
        )
        self._loads = Counter("editx_model_loads", "Loads that succeeded.", ["variant"], registry=r)
        self._load_failures = Counter("editx_model_load_failures", "Loads that failed.", ["variant"], registry=r)
        self._unloads = Counter("editx_model_unloads", "Unloads, by reason.", ["variant", "reason"], registry=r)
        self._load_seconds = Histogram(
            "editx_model_load_seconds", "Time a load took.", ["variant"], buckets=_SECONDS, registry=r
        )
        self._restarts = Counter("editx_worker_restarts", "Workers that died unasked.", ["variant"], registry=r)
        self._cancelled = Counter("editx_jobs_cancelled", "Jobs given up by their client.", registry=r)

    def watch(self, backend: Backend) -> None:
        """Report the live state of `backend` as well, and count from 0 what can happen to its variants: a count that
        begins at 1 is no increase to Prometheus, so that a first failure would not be one."""
        for variant in backend.status():
            for counter in (self._audio, self._loads, self._load_failures, self._restarts):
                counter.labels(variant)
            for reason in UNLOAD_REASONS:
                self._unloads.labels(variant, reason)
        for route in _ADMITTED:
            self._requests.labels("POST", route, "429")
        self._registry.register(_Live(backend))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def job(self, result: Result) -> None:
        """Count a finished job."""
        timings = result.timings
        self._audio.labels(result.variant).inc(result.clip.seconds)
        work = timings.total - timings.queue - timings.load
        self._rtf.labels(result.variant).observe(work / max(result.clip.seconds, 1e-3))
        self._first_audio.labels(result.variant).observe(timings.first_audio)
        self._waits.labels(result.variant).observe(timings.queue)

    def cancelled(self) -> None:
        self._cancelled.inc()

    def lifecycle(self, event: Event) -> None:
        """The observer of the model pool."""
        if event.kind == "ready":
            self._loads.labels(event.name).inc()
            self._load_seconds.labels(event.name).observe(event.seconds or 0.0)
        elif event.kind == "load_failed":
            self._load_failures.labels(event.name).inc()
        elif event.kind == "unloaded":
            self._unloads.labels(event.name, event.reason or "").inc()
        elif event.kind == "crashed":
            self._restarts.labels(event.name).inc()

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)


class _Live(Collector):
    """Gauges read off the backend at the moment of the scrape."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> list[GaugeMetricFamily]:
        loaded = GaugeMetricFamily("editx_model_loaded", "1 while the variant is loaded.", labels=["variant"])
        leases = GaugeMetricFamily("editx_model_leases", "Requests using the variant now.", labels=["variant"])
        queued = GaugeMetricFamily("editx_queue_length", "Requests waiting for the variant.", labels=["variant"])
        gpu = GaugeMetricFamily("editx_gpu_memory_bytes", "GPU memory of the worker process.", labels=["variant"])
        memory = GaugeMetricFamily("editx_process_memory_bytes", "Resident memory.", labels=["process"])
        memory.add_metric(["server"], psutil.Process(os.getpid()).memory_info().rss)
        for name, status in self._backend.status().items():
            loaded.add_metric([name], float(status["loaded"]))
            leases.add_metric([name], status["leases"])
            queued.add_metric([name], status["queued"])
            gpu.add_metric([name], status["gpu_memory_process_gb"] * 1e9)
            if status["pid"]:
                memory.add_metric([name], status["ram_process_gb"] * 1e9)
        return [loaded, leases, queued, gpu, memory]
