"""The real process: killed, started again, asked by many at once."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2 as httpx
import pytest
import uvicorn

from cellrim.cli.serve import serve
from cellrim.errors import OutputError, UsageError
from cellrim.server.listen import _protocol

START_SECONDS = 120


@contextmanager
def running(data, model, *options):
    """Start ``cellrim serve`` at any free port; gives a client and the process."""
    command = [sys.executable, "-m", "cellrim", "serve", "--data", str(data), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--model", str(model), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("cellrim listens at http://127.0.0.1:"), process.stderr.read()
        with httpx.Client(base_url=line.split()[-1], timeout=START_SECONDS) as client:
            until = time.monotonic() + START_SECONDS
            while True:
                try:
                    assert client.get("/healthz").status_code == 200
                    break
                except httpx.TransportError:
                    assert time.monotonic() < until
                    time.sleep(0.1)
            yield client, process
    finally:
        process.kill()
        process.communicate()


def done(client, job, count):
    """Wait until so many images are done."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        shown = client.get(f"/v1/jobs/{job}").json()
        if shown["progress"]["ok"] >= count:
            return shown
        time.sleep(0.02)
    raise AssertionError(shown)


def test_a_kill_loses_nothing(tmp_path, tiny_model, png):
    data, count = tmp_path / "data", 60
    files = [("images", (f"{number}.png", png)) for number in range(count)]
    with running(data, tiny_model) as (client, process):
        job = client.post("/v1/jobs?formats=cells-csv", files=files).json()["id"]
        before = done(client, job, 3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {file["number"]: file for file in before["files"] if file["state"] == "ok"}
    assert before["progress"]["waiting"] > 0
    with running(data, tiny_model) as (client, process):
        shown = done(client, job, count)
        assert shown["state"] == "done"
        for number, file in kept.items():  # not done a second time
            assert shown["files"][number] == file
        answer = client.get(f"/v1/jobs/{job}/results")
        assert answer.content.count(b"_cells.csv") >= count
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


def test_many_clients_and_one_that_hangs(tmp_path, tiny_model, png):
    with running(tmp_path / "data", tiny_model) as (client, _):
        hanging = [
            socket.create_connection((client.base_url.host, client.base_url.port)) for _ in range(5)
        ]
        for each in hanging:  # a request that never ends
            each.sendall(
                b"POST /v1/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
        together = threading.Barrier(50)

        def ask(number):
            together.wait()
            data = b"broken" if number % 10 == 0 else png
            return client.post("/v1/segment", files={"image": (f"{number}.png", data)})

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(ask, range(50)))
        for number, answer in enumerate(answers):
            if number % 10 == 0:
                assert answer.status_code == 422
                assert f"{number}.png" in answer.json()["detail"]
            else:
                assert answer.json()["count"] == 20
        assert client.get("/healthz").status_code == 200
        for each in hanging:
            each.close()


def serving(data, model, *options):
    """Call ``cellrim serve`` in this process; its errors come out."""
    serve.main(["--data", str(data), "--model", str(model), *options], standalone_mode=False)


def test_the_device_that_is_asked_for(tmp_path, tiny_model):
    with pytest.raises(UsageError, match="Expected the device auto, cpu"):
        serving(tmp_path, tiny_model, "--device", "gpu")
    pytest.importorskip("openvino")
    with running(tmp_path / "data", tiny_model, "--device", "openvino") as (client, _):
        assert client.get("/v1/models").json()["device"].split()[0] == "openvino"


def _is_closed(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@contextmanager
def listening(app, *, idle_seconds):
    """Serve an application with the connections of ``cellrim serve``; gives the address."""
    config = uvicorn.Config(
        app, port=0, http=_protocol(idle_seconds), lifespan="off", log_level="error"
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(10)


async def _never_asked(scope, receive, send):
    raise AssertionError


def test_silent_connections_are_closed():
    with (
        listening(_never_asked, idle_seconds=0.3) as address,
        socket.create_connection(address, timeout=10) as silent,
    ):
        silent.sendall(b"GET / HT")
        assert _is_closed(silent)


@pytest.mark.parametrize("sent", [b"no HTTP at all\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_answered_with_a_problem(sent):
    with (
        listening(_never_asked, idle_seconds=10) as address,
        socket.create_connection(address, timeout=10) as client,
    ):
        client.sendall(sent)
        with client.makefile("rb") as file:
            head, body = file.read().split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["type"] == "/problems/bad-request"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "Expected a token to listen at 0.0.0.0"),
        (["--token", "short"], "token"),
        (["--host", "::", "--token", "Not a good token!"], "token"),
    ],
)
def test_other_machines_need_a_token(tmp_path, tiny_model, options, said):
    with pytest.raises(UsageError, match=said):
        serving(tmp_path / "d", tiny_model, *options)
    assert not (tmp_path / "d").exists()


def test_a_port_that_is_taken_is_named(tmp_path, tiny_model):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OutputError, match=f"port {port}"):
            serving(tmp_path / "d", tiny_model, "--port", str(port))
