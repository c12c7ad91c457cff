"""A server in the test's own process, with a network that needs milliseconds."""

import time
from operator import itemgetter

import imagecodecs
import pytest
from fastapi.testclient import TestClient

from cellrim.server.app import create_app
from cellrim.server.settings import Settings


@pytest.fixture
def settings_with(tmp_path, tiny_model):
    """Make settings with some of them changed."""

    def make(**changes):
        values = {
            "data": tmp_path / "data",
            "model": "tiny",
            "model_folders": (tiny_model,),
            "workers": 2,
            "threads": 1,
            "min_free_bytes": 0,
        }
        return Settings(**values | changes)

    return make


@pytest.fixture
def serve(settings_with):
    """Start servers with some settings changed; all are stopped at the end."""
    clients = []

    def start(**changes):
        client = TestClient(create_app(settings_with(**changes)))
        clients.append(client)
        return client.__enter__()

    yield start
    for client in reversed(clients):
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve):
    """A server with the settings as they are."""
    return serve()


@pytest.fixture
def field(discs):
    """A field of 4 x 5 bright discs."""
    return discs((96, 120), 8)


@pytest.fixture
def png(field):
    """The same as PNG."""
    return imagecodecs.png_encode(field)


@pytest.fixture
def wait_for():
    """Wait until a job is finished, or what it shows is otherwise what is waited for."""

    def wait(client, job, *, seconds=60, until=itemgetter("finished")):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = client.get(f"/v1/jobs/{job}").json()
            if until(shown):
                return shown
            time.sleep(0.05)
        raise AssertionError(f"The job is not there after {seconds} s: {shown}")

    return wait
