"""What a server is told when it starts. Nothing here changes while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from cellrim.models.backend import default_threads
from cellrim.models.devices import AUTO

MB = 1_000_000
GB = 1_000 * MB


class Settings(BaseModel):
    """Settings of one server.

    Parameters
    ----------
    data
        Folder for jobs, their results and corrected images; created where missing. One server only
        may use it at a time.
    host, port
        Where to listen. Other machines reach it only at an address that is not this one's own, and
        then a token is required.
    token
        What clients must show; None where only this machine can reach the server.
    model
        Model that is used where none is asked for.
    model_folders
        Folders of further models to offer, by the names in their cards.
    workers
        Images that are segmented at the same time.
    threads
        Threads of the network for each of them.
    device
        Where the networks run, as for :func:`~cellrim.models.devices.devices_to_try`, or
        ``openvino``.
    precision
        In which numbers, as for :func:`~cellrim.models.runtimes.open_backend`.
    max_upload_bytes
        Largest image file.
    max_pixels
        Most pixels of an image, told from the file's header before it is decoded, and of what the
        network sees of it.
    max_memory_bytes
        What the process takes at most; decides how many pixels are worked on at the same time.
    max_waiting
        Most images that wait for a worker; the next one is told to come back later.
    max_seconds
        Longest time for one image; what takes longer is stopped at its next tile.
    max_files, max_job_bytes
        Most images, and bytes, of one job.
    max_jobs
        Most jobs that are not finished yet.
    keep_days
        Results of jobs are removed this long after they are finished.
    quota_bytes
        Most bytes of all files together: jobs, images of the page, corrected images and trained
        models. Finished jobs and images of the page go for new ones, the oldest first.
    training_patches
        Longest training on corrected images, in patches; what the command line has where left out.
    max_requests
        Most requests that are being answered; the next one is told to come back later.
    min_free_bytes
        Nothing is accepted when the disk has less space left than this.
    idle_seconds
        A client that sends or takes nothing for this long is let go.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.~-]{16,200}$")] | None = None
    model: str = "general"
    model_folders: tuple[Path, ...] = ()
    workers: PositiveInt = Field(default_factory=lambda: min(2, default_threads()))
    threads: PositiveInt = Field(default_factory=lambda: max(1, default_threads() // 2))
    device: str = AUTO
    precision: str = AUTO
    max_upload_bytes: PositiveInt = 200 * MB
    max_pixels: PositiveInt = 36 * MB
    max_memory_bytes: PositiveInt = 12 * GB
    max_waiting: PositiveInt = 200
    max_seconds: PositiveFloat = 600
    max_files: PositiveInt = 2000
    max_job_bytes: PositiveInt = 4 * GB
    max_jobs: PositiveInt = 100
    keep_days: PositiveFloat = 7
    quota_bytes: PositiveInt = 20 * GB
    training_patches: PositiveInt | None = None
    max_requests: PositiveInt = 500
    min_free_bytes: Annotated[int, Field(ge=0)] = 500 * MB
    idle_seconds: PositiveFloat = 30
