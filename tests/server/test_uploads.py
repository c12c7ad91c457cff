import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from cellrim.server.problems import ApiError
from cellrim.server.uploads import Limits, receive, shown_name

LIMITS = Limits(3, 50_000, 100_000, field="images")


def body_of(files, field="images"):
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--x--\r\n"


def take(folder, body, *, step=7, broken_off=False):
    """Receive a body that comes in small steps."""
    pieces = [body[i : i + step] for i in range(0, len(body), step)]
    messages = [{"type": "http.request", "body": p, "more_body": True} for p in pieces]
    end = {"type": "http.disconnect"} if broken_off else {"type": "http.request", "body": b""}
    source = iter([*messages, end])

    async def next_message():
        return next(source)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, next_message)
    return asyncio.run(receive(request, folder, limits=LIMITS))


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_files_arrive_whole_whatever_the_steps(tmp_path, step):
    files = [("a.png", b"\r\n--y not the end\r\n--"), ("b.tif", bytes(range(256))), ("c", b"")]
    uploads = take(tmp_path / "in", body_of(files), step=step)
    assert [(u.name, u.path.read_bytes(), u.size) for u in uploads] == [
        (name, data, len(data)) for name, data in files
    ]
    assert [u.path.name for u in uploads] == ["0", "1", "2"]


def test_there_must_be_space_before_anything_is_taken(client, png):
    client.app.state.space.quota = len(png) - 1
    for path in ("/v1/workspace/images", "/v1/jobs"):
        field = "images" if path == "/v1/jobs" else "image"
        said = client.post(path, files={field: png})
        assert (said.status_code, said.json()["type"]) == (507, "/problems/over-quota")
    assert sum(client.get("/v1/space").json()["used"].values()) == 0


def test_a_client_that_leaves(tmp_path):
    with pytest.raises(ClientDisconnect):
        take(tmp_path / "in", body_of([("a", bytes(100))])[:60], broken_off=True)
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ([("a", bytes(50_001))], "too-large"),
        ([("a", bytes(40_000))] * 3, "too-large"),
        ([("a", b"")] * 4, "too-large"),
    ],
)
def test_beyond_the_limits_nothing_is_kept(tmp_path, files, kind):
    with pytest.raises(ApiError) as caught:
        take(tmp_path / "in", body_of(files), step=4096)
    assert caught.value.kind == kind
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a.png", "a.png"),
        (b"C:\\x\\a.png", "a.png"),
        (b"../../a.png", "a.png"),
        (b"a\n\x00\x1bb", "a___b"),
        ("größe µ.tif".encode(), "größe µ.tif"),
        (b"\xff\xfe.tif", "��.tif"),
        ("a\u202eb".encode(), "a_b"),  # would show the rest from right to left
        (b"", "image 3"),
        (b"dir/", "image 3"),
        (b"x" * 300 + b".tif", "x" * 251 + ".tif"),
    ],
)
def test_names_are_text_to_show(raw, shown):
    assert shown_name(raw, 2) == shown
