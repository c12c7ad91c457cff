"""What the page talks to: images in work, their labels and corrections, and learning from them."""

from fastapi import APIRouter

from cellrim.server.problems import documented
from cellrim.server.workspace import edits, images, learning
from cellrim.server.workspace.desk import Workspace

router = APIRouter(
    prefix="/v1/workspace",
    tags=["workspace"],
    responses=documented("wrong-input", "not-found", "conflict", "busy", "disk-full", "over-quota"),
)
for _part in (images, edits, learning):
    router.include_router(_part.router)

__all__ = ["Workspace", "router"]
