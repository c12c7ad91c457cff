"""``/v1/jobs``: many images, worked through in the background."""

from __future__ import annotations

import asyncio
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from cellrim._version import __version__
from cellrim.server.forms import FORMS
from cellrim.server.options import ManyImages
from cellrim.server.problems import ApiError, documented
from cellrim.server.segment import multipart
from cellrim.server.store import FileRow, JobRow, JobState, Store
from cellrim.server.uploads import Limits, Upload, disk_problem, receive

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

FIELD = "images"
_COPY_BYTES = 1 << 18
# Characters that some system does not allow in a file's name.
_UNSAFE = str.maketrans(dict.fromkeys('<>:"/\\|?*', "_"))

JobId = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{32}$",
        description="The job's id.",
        examples=["0123456789abcdef0123456789abcdef"],
    ),
]


class Progress(BaseModel):
    """How many images of a job are in which state."""

    total: int
    ok: int
    failed: int
    waiting: int
    cancelled: int


class File(BaseModel):
    """What became of one image."""

    number: int
    name: Annotated[str, Field(description="As the client called it.")]
    state: Literal["waiting", "ok", "failed", "cancelled"]
    cells: int | None
    diameter: Annotated[float | None, Field(description="Used cell diameter in pixels.")]
    device: Annotated[str | None, Field(description="Where the network ran.")]
    seconds: float | None
    error: Annotated[str | None, Field(description="Why it failed.")]


class Job(BaseModel):
    """A job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0123456789abcdef0123456789abcdef",
                    "state": "running",
                    "created": "2026-01-31T12:00:00+00:00",
                    "finished": None,
                    "options": {"diameter": 30.0, "formats": "label-tiff,cells-csv"},
                    "progress": {"total": 3, "ok": 1, "failed": 1, "waiting": 1, "cancelled": 0},
                }
            ]
        }
    )

    id: str
    state: JobState
    created: datetime
    finished: datetime | None
    options: dict[str, Any]
    progress: Progress


class JobWithFiles(Job):
    """A job with its images."""

    files: list[File]


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[Job]


@router.post(
    "",
    status_code=202,
    summary="Segment many images",
    responses=documented("too-large", "wrong-input", "busy", "disk-full", "over-quota")
    | {202: {"headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}}}},
    openapi_extra=multipart(FIELD, many=True),
)
async def create(
    request: Request, options: Annotated[ManyImages, Query()], response: Response
) -> Job:
    """Hand in images. They are on the server's disk, and will be done, when this answers."""
    state = request.app.state
    settings, store = state.settings, state.store
    state.check_space()
    if await asyncio.to_thread(store.open_jobs) >= settings.max_jobs:
        raise ApiError(
            "busy", f"{settings.max_jobs} jobs are not finished yet: try later.", retry_after=60
        )
    limits = Limits(
        settings.max_files, settings.max_upload_bytes, settings.max_job_bytes, field=FIELD
    )
    uploads = await receive(request, store.incoming(), limits=limits, space=state.space)
    given = options.model_dump_json(exclude_none=True)
    try:
        job = await asyncio.to_thread(_keep, state, uploads, given)
    except BaseException as error:
        await asyncio.to_thread(shutil.rmtree, uploads[0].path.parent, ignore_errors=True)
        if isinstance(error, OSError):
            raise disk_problem(error) from error
        raise
    state.runner.wake()
    response.headers["Location"] = f"/v1/jobs/{job}"
    return _shown(_found(store, job))


@router.get("", summary="List jobs", responses=documented("wrong-input"))
def index(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> JobList:
    """List jobs, the newest first."""
    rows = request.app.state.store.jobs(limit=limit, offset=offset)
    return JobList(jobs=[_shown(row) for row in rows])


@router.get(
    "/{job}", summary="See how far a job is", responses=documented("not-found", "wrong-input")
)
def show(request: Request, job: JobId) -> JobWithFiles:
    """See the job's state and what became of each image."""
    store: Store = request.app.state.store
    row = _found(store, job)
    files = [_shown_file(file) for file in store.files(job)]
    return JobWithFiles(**_shown(row).model_dump(), files=files)


@router.post(
    "/{job}/cancel",
    summary="Cancel a job",
    responses=documented("not-found", "conflict", "wrong-input", "disk-full"),
)
async def cancel(request: Request, job: JobId) -> Job:
    """Leave undone what is not done yet. Results that are there are kept."""
    store: Store = request.app.state.store
    await asyncio.to_thread(_found, store, job)
    if not await asyncio.to_thread(store.cancel, job):
        raise ApiError("conflict", "The job is finished already.")
    request.app.state.runner.call_off(job)
    return _shown(await asyncio.to_thread(_found, store, job))


@router.delete(
    "/{job}",
    status_code=204,
    summary="Remove a job",
    responses=documented("not-found", "wrong-input", "disk-full"),
)
async def remove(request: Request, job: JobId) -> None:
    """Cancel the job if it is not done, and remove its images and results."""
    store: Store = request.app.state.store
    await asyncio.to_thread(_found, store, job)
    await asyncio.to_thread(store.cancel, job)
    request.app.state.runner.call_off(job)
    await asyncio.to_thread(store.remove, job)


@router.get(
    "/{job}/results",
    summary="Download the results",
    response_class=StreamingResponse,
    responses=documented("not-found", "conflict", "wrong-input")
    | {
        200: {
            "description": "A zip file: the results named after the images, and job.json.",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def results(
    request: Request,
    job: JobId,
    partial: Annotated[
        bool, Query(description="Whatever is there, before the job is done.")
    ] = False,
) -> StreamingResponse:
    """Download the results of all images as one zip file."""
    store: Store = request.app.state.store
    row = _found(store, job)
    if row.is_open and not partial:
        raise ApiError(
            "conflict", "The job is not finished: ask again later, or for what is there: partial."
        )
    headers = {"Content-Disposition": f'attachment; filename="cellrim-{job[:8]}.zip"'}
    return StreamingResponse(_zipped(store, row), media_type="application/zip", headers=headers)


def _keep(state: Any, uploads: Sequence[Upload], options: str) -> str:
    """Make a job of uploads, which are on the disk already; old ones go for it."""
    with state.space.reserve():
        job: str = state.store.add(uploads, options)
    return job


def _found(store: Store, job: str) -> JobRow:
    row = store.job(job)
    if row is None:
        raise ApiError("not-found", f"Expected a job, but there is none {job}; old ones go away.")
    return row


def _shown(row: JobRow) -> Job:
    counts = row.counts
    progress = Progress(
        total=sum(counts.values()),
        ok=counts.get("ok", 0),
        failed=counts.get("failed", 0),
        waiting=counts.get("waiting", 0),
        cancelled=counts.get("cancelled", 0),
    )
    return Job(
        id=row.id,
        state=row.state,
        created=datetime.fromtimestamp(row.created, UTC),
        finished=None if row.finished is None else datetime.fromtimestamp(row.finished, UTC),
        options=json.loads(row.options),
        progress=progress,
    )


def _shown_file(row: FileRow) -> File:
    return File(
        number=row.number,
        name=row.name,
        state=row.state,
        cells=row.cells,
        diameter=row.diameter,
        device=row.device,
        seconds=row.seconds,
        error=row.error,
    )


class _Pipe:
    """A file to write to whose content is taken away in pieces; cannot seek."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _zipped(store: Store, row: JobRow) -> Iterator[bytes]:
    """Write the zip file piece by piece; nothing but a piece is in memory."""
    forms = ManyImages.model_validate_json(row.options).forms()
    pipe = _Pipe()
    with store.hold(row.id):
        files = store.files(row.id)
        stems = _stems(files)
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
            for file in files:
                if file.state != "ok":
                    continue
                for form in forms:
                    ending = FORMS[form].ending
                    path = store.output_path(row.id, file.number, ending)
                    with (
                        path.open("rb") as source,
                        archive.open(
                            f"{stems[file.number]}{ending}", "w", force_zip64=True
                        ) as target,
                    ):
                        while piece := source.read(_COPY_BYTES):
                            target.write(piece)
                            yield pipe.take()
            archive.writestr("job.json", _summary(row, files, stems))
            yield pipe.take()
        yield pipe.take()


def _summary(row: JobRow, files: list[FileRow], stems: dict[int, str]) -> str:
    content = {
        "cellrim": __version__,
        **_shown(row).model_dump(mode="json"),
        "files": [{"stem": stems[file.number], **_shown_file(file).model_dump()} for file in files],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _stems(files: list[FileRow]) -> dict[int, str]:
    """Name the results of each image after it; numbered where names would be the same."""
    stems: dict[int, str] = {}
    taken: set[str] = set()
    for file in files:
        stem = safe_stem(file.name) or f"image{file.number + 1}"
        if stem.casefold() in taken:
            stem = f"{stem}_{file.number + 1}"
        while stem.casefold() in taken:
            stem += "_"
        taken.add(stem.casefold())
        stems[file.number] = stem
    return stems


def safe_stem(name: str) -> str:
    """Make of a client's file name one that every system unpacks within the folder.

    Examples
    --------
    >>> safe_stem("a:b.ome.tif")
    'a_b.ome'
    >>> safe_stem("..")
    ''
    """
    stem = name.translate(_UNSAFE)
    if "." in stem.lstrip("."):
        stem = stem.rsplit(".", 1)[0]
    return stem.strip(" .")[:150]
