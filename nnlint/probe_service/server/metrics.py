"""What Prometheus is told, on a loopback port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer

import prometheus_client as prometheus

from nnlint.errors import UsageError
from nnlint.probe_service.server.settings import parse_listen
from nnlint.probe_service.server.store import Store

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class Metrics:
    """Every metric, in a registry of its own.

    Attributes:
        calls_started: By method.
        calls_handled: By method and status.
        call_seconds: By method.
        probes: By outcome.
        queue_seconds: From the request to a device.
        fetch_seconds: Finding and checking the graph and its blobs.
        run_seconds: On the device.
        first_step_seconds: From the device to the first step's event.
        restarts: Workers that ended before their work was done, by reason.
        out_of_memory: Probes that ran out of memory.
    """

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        method, registry = ["grpc_method"], self.registry
        self.calls_started = prometheus.Counter(
            "grpc_server_started", "Calls started.", method, registry=registry
        )
        self.calls_handled = prometheus.Counter(
            "grpc_server_handled", "Calls ended.", [*method, "grpc_code"], registry=registry
        )
        self.call_seconds = prometheus.Histogram(
            "grpc_server_handling_seconds",
            "Duration of calls.",
            method,
            buckets=_SECONDS,
            registry=registry,
        )
        self.probes = prometheus.Counter(
            "probe_requests", "Probes ended.", ["outcome"], registry=registry
        )
        self.restarts = prometheus.Counter(
            "probe_worker_restarts", "Workers lost.", ["reason"], registry=registry
        )
        self.out_of_memory = prometheus.Counter(
            "probe_oom", "Probes that ran out of memory.", registry=registry
        )
        self.queue_seconds = self._histogram("probe_queue_seconds", "Time in the queue.")
        self.fetch_seconds = self._histogram("probe_fetch_seconds", "Time to check a request.")
        self.run_seconds = self._histogram("probe_run_seconds", "Time on the device.")
        self.first_step_seconds = self._histogram(
            "probe_first_event_seconds", "From the device to the first step."
        )

    def watch(
        self, store: Store, *, waiting: Callable[[], int], running: Callable[[], int]
    ) -> None:
        """Tell, whenever asked, how full the store and the queue are."""
        counters = store.counters
        for name, about, read in (
            ("cas_bytes", "Bytes that blobs take on disk.", lambda: store.used),
            ("cas_limit_bytes", "Bytes that blobs may take.", lambda: store.limit),
            ("cas_blobs", "Blobs in the store.", lambda: len(store)),
            ("probe_pending", "Probes that wait.", waiting),
            ("probe_running", "Probes that run.", running),
        ):
            prometheus.Gauge(name, about, registry=self.registry).set_function(read)
        self.registry.register(
            _Counters(
                {
                    "cas_hits": lambda: counters.hits,
                    "cas_misses": lambda: counters.misses,
                    "cas_evictions": lambda: counters.evictions,
                    "cas_stored": lambda: counters.stored,
                    "cas_damaged": lambda: counters.damaged,
                }
            )
        )

    def _histogram(self, name: str, about: str) -> prometheus.Histogram:
        return prometheus.Histogram(name, about, buckets=_SECONDS, registry=self.registry)


class _Counters:
    """Counts that others keep."""

    def __init__(self, reads: dict[str, Callable[[], int]]) -> None:
        self._reads = reads

    def collect(self) -> list[prometheus.metrics_core.CounterMetricFamily]:
        """Return what stands there now."""
        return [
            prometheus.metrics_core.CounterMetricFamily(name, "Blobs since the start.", read())
            for name, read in self._reads.items()
        ]


class Exporter:
    """Answers Prometheus in a thread of its own."""

    def __init__(self, address: str, metrics: Metrics) -> None:
        """Listen.

        Raises:
            UsageError: The port is taken.
        """
        listen = parse_listen(address)
        try:
            started = prometheus.start_http_server(
                listen.port, addr=listen.host, registry=metrics.registry
            )
        except OSError as error:
            raise UsageError(f"--metrics {address}: {error.strerror}") from error
        server, thread = started
        self._server: WSGIServer = server
        self._thread: threading.Thread = thread
        self.port = int(server.server_port)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
