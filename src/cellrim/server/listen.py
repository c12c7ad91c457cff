"""Listening: the process around the application."""

from __future__ import annotations

import asyncio
import socket

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cellrim.errors import OutputError, UsageError
from cellrim.server.app import create_app
from cellrim.server.problems import ApiError, answer
from cellrim.server.settings import Settings
from cellrim.server.store import Store

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_BACKLOG = 512
_SHUTDOWN_SECONDS = 10


def check_settings(settings: Settings) -> None:
    """Refuse to be reached from other machines without a token.

    Raises
    ------
    UsageError
        If the address is not this machine's own and there is no token.
    """
    if settings.host not in _LOCAL and settings.token is None:
        raise UsageError(
            f"Expected a token to listen at {settings.host}, where other machines can reach it: "
            "--token TEXT of 16 letters or more, or the environment variable CELLRIM_TOKEN."
        )


def serve(settings: Settings) -> None:
    """Serve until the process is told to stop.

    Raises
    ------
    UsageError
        If other machines could reach it without a token.
    ModelError, OutputError
        If a model or the data folder cannot be used, or the port is taken.
    """
    check_settings(settings)
    app = create_app(settings)
    Store(settings.data).close()  # its errors are told better here than by the server
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=_protocol(settings.idle_seconds),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=int(settings.idle_seconds),
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        lifespan="on",
    )
    with _listen(settings) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"cellrim listens at http://{shown}:{port}/", flush=True)
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
        if not server.started:
            raise OutputError(f"The server could not start with the data folder {settings.data}.")


def _listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)  # who comes while the server starts waits
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OutputError(
            f"Cannot listen at {settings.host}, port {settings.port}: {error.strerror or error}."
        ) from error
    return listener


def _protocol(idle_seconds: float) -> type[H11Protocol]:
    class Protocol(H11Protocol):
        """Lets go connections that bring no whole request, or take no answer."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            _limit_silence(transport, idle_seconds)
            self.loop.call_later(idle_seconds, self._close_if_nothing_came)

        def send_400_response(self, msg: str) -> None:
            """Answer what is no HTTP as everything else is answered."""
            problem = answer(ApiError("bad-request", msg))
            headers = [*problem.raw_headers, (b"connection", b"close")]
            parts = (
                h11.Response(
                    status_code=problem.status_code, headers=headers, reason=b"Bad Request"
                ),
                h11.Data(data=bytes(problem.body)),
                h11.EndOfMessage(),
            )
            for part in parts:
                self.transport.write(self.conn.send(part) or b"")
            self.transport.close()

        def _close_if_nothing_came(self) -> None:
            cycle: object | None = self.cycle  # typed as never None, and None until a request
            if cycle is None:
                self.transport.abort()

    return Protocol


def _limit_silence(transport: asyncio.Transport, seconds: float) -> None:
    """Have the system cut a connection whose other end takes no bytes for so long."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    connection = transport.get_extra_info("socket")
    if option is not None and connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
