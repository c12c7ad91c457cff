import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.websockets import WebSocketDisconnect

from cellrim.server.guard import HEADERS, ClientHangs, Guard
from cellrim.server.metrics import Metrics

TOKEN = "a-token-of-some-length"


def test_every_answer_has_the_headers(client):
    for answer in (
        client.get("/healthz"),
        client.get("/v1/none"),
        client.put("/v1/models"),
        client.get("/v1/models", headers={"host": "evil.example"}),
        client.post("/v1/segment"),
    ):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "cache-control" in answer.headers


def test_nothing_comes_from_elsewhere_and_no_script_is_inline(client):
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)
    assert client.get("/docs").headers["content-type"] != "text/html"


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "127.0.0.1.evil.example:80"}, {"host": ""}],
)
def test_names_that_point_here_are_refused_without_a_token(client, headers):
    answer = client.get("/v1/models", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_this_machine_s_names_are_taken(client, host):
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_can_change_nothing(client, headers):
    answer = client.post("/v1/jobs", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")


def test_the_own_page_may(client, png):
    headers = {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
    answer = client.post("/v1/segment", files={"image": ("a", png)}, headers=headers)
    assert answer.status_code == 200


def test_token(serve):
    client = serve(token=TOKEN)
    assert client.get("/healthz").status_code == 200
    for headers in (
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer \u00e4".encode("latin-1")},
        {"cookie": "cellrim_token=wrong"},
        {"cookie": 'cellrim_token="; =='},
    ):
        for path in ("/v1/models", "/metrics", "/openapi.json", "/", "/v1/jobs"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.text
    right = {"authorization": f"Bearer {TOKEN}", "host": "lab.example"}
    assert client.get("/v1/models", headers=right).status_code == 200


def test_a_browser_logs_in_by_the_address(serve):
    client = serve(token=TOKEN)
    assert client.get(f"/?token={TOKEN}x", follow_redirects=False).status_code == 401
    answer = client.get(f"/?token={TOKEN}&x=1", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/v1/models").status_code == 200  # the client keeps the cookie


def exchange(app, settings, messages, *, send_seconds=0.0):
    """Run the guard over one request; ``None`` among the messages is a client that hangs."""
    sent, source = [], iter(messages)

    async def receive():
        message = next(source)
        if message is None:
            await asyncio.sleep(30)
        return message

    async def send(message):
        await asyncio.sleep(send_seconds)
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-length", b"100")],
    }

    async def main():
        guard = Guard(app, settings=settings, metrics=Metrics())
        await asyncio.wait_for(guard(scope, receive, send), 10)

    return main, sent


async def reads_all(_scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def piece(more=True):
    return {"type": "http.request", "body": b"x", "more_body": more}


def test_a_client_that_sends_nothing_is_let_go(settings_with):
    main, sent = exchange(reads_all, settings_with(idle_seconds=0.1), [piece(), None])
    asyncio.run(main())
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_client_that_sends_drop_by_drop_is_let_go(settings_with, monkeypatch):
    monkeypatch.setattr("cellrim.server.guard._GRACE_SECONDS", 0.0)
    main, sent = exchange(reads_all, settings_with(), [piece()] * 1000)
    asyncio.run(main())
    assert sent[0]["status"] == 408


def test_a_client_that_takes_nothing_is_let_go(settings_with):
    main, sent = exchange(
        reads_all, settings_with(idle_seconds=0.1), [piece(more=False)], send_seconds=30
    )
    with pytest.raises(ClientHangs):
        asyncio.run(main())
    assert sent == []


def test_waiting_for_the_answer_is_no_hanging(settings_with):
    async def slow(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.3)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    main, sent = exchange(slow, settings_with(idle_seconds=0.1), [piece(more=False)])
    asyncio.run(main())
    assert sent[0]["status"] == 200


def test_websockets_do_not_get_past_the_token(serve):
    client = serve(token=TOKEN)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/models"):
        pass


def test_an_error_after_the_answer_has_begun_adds_nothing(settings_with):
    async def fails(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("late")

    main, sent = exchange(fails, settings_with(), [piece(more=False)])
    asyncio.run(main())
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_more_requests_than_allowed_are_told_to_come_back(serve, png):
    client = serve(max_requests=1)
    together = threading.Barrier(2)
    held = client.app.state.work.run

    async def hold(*arguments, **options):
        await asyncio.to_thread(together.wait, 60)  # the request is being answered
        await asyncio.to_thread(together.wait, 60)
        return await held(*arguments, **options)

    client.app.state.work.run = hold
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/segment", files={"image": png})
        together.wait(60)
        refused = client.get("/v1/models")
        health = client.get("/healthz")
        together.wait(60)
        assert first.result().status_code == 200
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "10"
    assert refused.json()["type"] == "/problems/busy"
    assert health.status_code == 200
    assert client.get("/v1/models").status_code == 200
