"""What all that works in the background of one server shares."""

from __future__ import annotations

from dataclasses import dataclass

from cellrim.server.metrics import Metrics
from cellrim.server.models import Models
from cellrim.server.settings import Settings
from cellrim.server.space import Space
from cellrim.server.store import Store
from cellrim.server.work import Work


@dataclass(frozen=True, slots=True)
class Parts:
    """What jobs and the page work with."""

    settings: Settings
    models: Models
    work: Work
    store: Store
    space: Space
    metrics: Metrics
