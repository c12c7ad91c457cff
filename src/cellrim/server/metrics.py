"""Numbers about a running server, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters of one server; every server has its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "cellrim_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "cellrim_request_seconds",
            "Time until the answer was sent.",
            ("route", "method"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "cellrim_images",
            "Images by where they came from and what became of them.",
            ("source", "outcome"),
            registry=self._registry,
        )
        self._image_seconds = Histogram(
            "cellrim_image_seconds",
            "Time of an image in a worker.",
            ("source",),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Offer a number that is asked for when it is read."""
        Gauge(f"cellrim_{name}", about, registry=self._registry).set_function(value)

    def request(self, route: str, method: str, status: int, *, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._latency.labels(route, method).observe(seconds)

    def image(
        self, source: Literal["request", "job", "page"], seconds: float | None, *, failed: bool
    ) -> None:
        """Count an image."""
        self._images.labels(source, "failed" if failed else "ok").inc()
        if seconds is not None:
            self._image_seconds.labels(source).observe(seconds)

    def text(self) -> bytes:
        """Return all in Prometheus' text form."""
        return generate_latest(self._registry)
