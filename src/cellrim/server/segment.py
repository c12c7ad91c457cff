"""``POST /v1/segment``: one image in, one answer out."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from cellrim.errors import CellrimError
from cellrim.server.answers import PassingFile
from cellrim.server.forms import FORMS, Form, form_accepted
from cellrim.server.options import OneImage, check_cost, segment_file
from cellrim.server.problems import ApiError, documented
from cellrim.server.uploads import Limits, Upload, disk_problem, receive

router = APIRouter(prefix="/v1", tags=["segment"])

FIELD = "image"


def multipart(field: str, *, many: bool) -> dict[str, Any]:
    """Describe a multipart body with one file, or many, for the OpenAPI."""
    file = {"type": "string", "format": "binary", "description": "PNG, JPEG, BMP or TIFF."}
    content = {"type": "array", "items": file, "minItems": 1} if many else file
    schema = {
        "type": "object",
        "properties": {field: content},
        "required": [field],
        "additionalProperties": False,
    }
    body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return {"requestBody": body}


def _answers() -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {}
    for form in FORMS.values():
        binary = {"type": "string", "format": "binary"}
        is_json = form.media_type == "application/json"
        content[form.media_type.split(";")[0]] = {"schema": {} if is_json else binary}
    content["application/json"]["examples"] = {
        "cells-json": {
            "value": {
                "height": 512,
                "width": 512,
                "count": 1,
                "diameter": 23.4,
                "pixel_size": None,
                "cells": [{"id": 1, "centroid_y": 40.2, "centroid_x": 31.9, "area": 428}],
            }
        }
    }
    headers = {
        "Cellrim-Cells": {"description": "Number of cells.", "schema": {"type": "integer"}},
        "Cellrim-Diameter": {
            "description": "Cell diameter that was used, in pixels.",
            "schema": {"type": "number"},
        },
    }
    return {
        200: {
            "description": "The cells, in the asked form.",
            "content": content,
            "headers": headers,
        }
    }


@router.post(
    "/segment",
    summary="Segment one image",
    response_class=FileResponse,
    responses=_answers()
    | documented(
        "not-acceptable",
        "too-large",
        "too-many-pixels",
        "unreadable-image",
        "wrong-input",
        "busy",
        "took-too-long",
        "disk-full",
    ),
    openapi_extra=multipart(FIELD, many=False),
)
async def segment(request: Request, options: Annotated[OneImage, Query()]) -> FileResponse:
    """Find the cells of one image and get them in the form that `format` or `Accept` asks for."""
    name = options.format or form_accepted(request.headers.get("accept", ""))
    state = request.app.state
    state.check_space()
    folder = state.store.incoming()
    limits = Limits(
        1, state.settings.max_upload_bytes, state.settings.max_upload_bytes, field=FIELD
    )
    (upload,) = await receive(request, folder, limits=limits)
    form = FORMS[name]
    try:
        path, headers = await _segment(request, upload, options, form)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    return PassingFile(
        path, media_type=form.media_type, headers=headers, filename=f"image{form.ending}"
    )


async def _segment(
    request: Request, upload: Upload, options: OneImage, form: Form
) -> tuple[Path, dict[str, str]]:
    state = request.app.state
    out = upload.path.with_name(f"answer{form.ending}")

    def work() -> dict[str, str]:
        begun = time.monotonic()
        result = segment_file(
            upload.path, upload.name, options, models=state.models, model=state.settings.model
        )
        form.write(result, out, upload.name)
        state.metrics.image("request", time.monotonic() - begun, failed=False)
        return {
            "Cellrim-Cells": str(result.count),
            "Cellrim-Diameter": f"{result.diameter:.2f}",
        }

    try:
        cost = await asyncio.to_thread(
            check_cost,
            upload.path,
            upload.name,
            options,
            models=state.models,
            model=state.settings.model,
            max_pixels=state.settings.max_pixels,
        )
        return out, await state.work.run(work, pixels=cost.network)
    except (CellrimError, ApiError, OSError, MemoryError) as error:
        state.metrics.image("request", None, failed=True)
        raise as_problem(error) from error


def as_problem(error: Exception) -> ApiError:
    """Turn what segmenting raises into what the client is told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, OSError):  # that an image cannot be read is a problem already
        return disk_problem(error)
    if isinstance(error, MemoryError):
        return ApiError("busy", "There is not enough memory for this image now.", retry_after=30)
    return ApiError("wrong-input", str(error))
