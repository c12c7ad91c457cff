"""Files out: an answer that is a file of its own, removed when it is sent."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send


class PassingFile(FileResponse):
    """Sends a file piece by piece and removes its folder, also where the client goes away.

    Parameters
    ----------
    path
        The file, in a folder that holds nothing to keep.
    media_type
        Of the file.
    headers
        More headers.
    filename
        What a browser calls it.
    """

    def __init__(
        self,
        path: Path,
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        filename: str | None = None,
    ) -> None:
        super().__init__(
            path,
            media_type=media_type,
            headers=headers,
            filename=filename,
            content_disposition_type="inline",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            folder = Path(self.path).parent
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
