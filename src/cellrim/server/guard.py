"""What stands before every request: who may ask, how slowly, and what every answer carries."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cellrim.server.metrics import Metrics
from cellrim.server.problems import ApiError, answer
from cellrim.server.settings import Settings

_log = logging.getLogger("cellrim.server")

COOKIE = "cellrim_token"
# A client may take this long in all, and a second more for each of so many bytes.
_GRACE_SECONDS = 60.0
_SLOWEST_BYTES = 10_000
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS = frozenset({"/healthz"})
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})

HEADERS = {
    # Everything from here, no inline script; pictures that the page itself makes are blobs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "font-src 'self'; connect-src 'self'; worker-src 'self' blob:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Middleware around all routes.

    Refuses requests without the token, and those that another site's page sends from the user's
    browser; has a bounded number of requests at the same time; lets clients go that send or take
    nothing; turns whatever a route raises into a problem; adds the security headers; counts.

    Parameters
    ----------
    app
        What is inside.
    settings
        Token, times and the number of requests.
    metrics
        Where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._answering = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets here, and nothing gets past the token
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = time.monotonic()
        exchange = _Exchange(scope, receive, send, idle_seconds=self._settings.idle_seconds)
        self._answering += 1
        try:
            self._check_load(scope)
            if not await self._turned_away(scope, exchange):
                await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or 499
        except ClientHangs:
            _log.info("A client that took nothing was let go.")
            raise
        except ApiError as error:
            await exchange.fail(error)
        except Exception:
            _log.exception("%s %s failed.", scope["method"], scope["path"])
            await exchange.fail(ApiError("internal", "The server failed; its log says more."))
        finally:
            self._answering -= 1
            route = getattr(scope.get("route"), "path", "other") or "other"
            self._metrics.request(
                route,
                scope["method"] if scope["method"] in _METHODS else "other",
                exchange.status,
                seconds=time.monotonic() - begun,
            )

    def _check_load(self, scope: Scope) -> None:
        most = self._settings.max_requests
        if self._answering > most and scope["path"] not in _OPEN_PATHS:
            raise ApiError(
                "busy", f"{most} requests are being answered: try again soon.", retry_after=10
            )

    async def _turned_away(self, scope: Scope, exchange: _Exchange) -> bool:
        headers = Headers(scope=scope)
        token = self._settings.token
        if token is None:
            _check_host(headers, self._settings)
        _check_origin(scope["method"], headers)
        if token is None or scope["path"] in _OPEN_PATHS or _shows_token(headers, token):
            return False
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] == "GET" and scope["path"] == "/" and ("token", token) in query:
            await exchange.log_in(token, [(k, v) for k, v in query if k != "token"])
            return True
        raise ApiError(
            "unauthorised",
            "Expected the header 'Authorization: Bearer TOKEN'; in a browser, open the address "
            "with ?token=TOKEN once.",
        )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ClientHangs(Exception):  # noqa: N818 (ends a connection; nobody's error)
    """A client takes no bytes any more."""


class _Exchange:
    """One request and its answer, with a clock on both."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, idle_seconds: float) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._idle_seconds = idle_seconds
        self._begun = time.monotonic()
        self._taken = 0
        self._whole = False
        self.status = 0

    async def receive(self) -> Message:
        """Take the next piece of the request, or give the client up."""
        if self._whole:  # waits for the client to leave: that may take as long as it likes
            return await self._receive()
        allowed = self._begun + _GRACE_SECONDS + self._taken / _SLOWEST_BYTES - time.monotonic()
        try:
            if allowed <= 0:
                raise TimeoutError
            async with asyncio.timeout(min(self._idle_seconds, allowed)):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(
                "too-slow", f"Nothing, or too little, came for {self._idle_seconds:g} seconds."
            ) from None
        self._taken += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Give the next piece of the answer, or give the client up."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if not self._whole and self._has_body():  # the rest would be read as a request
                headers["Connection"] = "close"
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self._send(message)
        except TimeoutError:
            raise ClientHangs from None

    async def fail(self, error: ApiError) -> None:
        """Answer with a problem; too late if the answer has begun."""
        if not self.status:
            await answer(error)(self._scope, self.receive, self.send)

    async def log_in(self, token: str, query: list[tuple[str, str]]) -> None:
        """Keep the token in a cookie and go to the page without it in the address."""
        headers = [
            (b"location", f"/?{urlencode(query)}".rstrip("?").encode("latin-1")),
            (
                b"set-cookie",
                f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict".encode("latin-1"),
            ),
            (b"content-length", b"0"),
        ]
        await self.send({"type": "http.response.start", "status": 303, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    def _has_body(self) -> bool:
        headers = Headers(scope=self._scope)
        return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _check_host(headers: Headers, settings: Settings) -> None:
    """Refuse names that are not this machine's: a foreign site may point its name here."""
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    if name.lower() not in _LOCAL_NAMES | {settings.host}:
        raise ApiError(
            "forbidden",
            f"Expected the address 127.0.0.1 or localhost, but got {name[:100]!r}. To be reached "
            "by another name, start the server with --token.",
        )


def _check_origin(method: str, headers: Headers) -> None:
    """Refuse what pages of other sites send from the user's browser."""
    if method in _SAFE_METHODS:
        return
    origin = headers.get("origin")
    foreign = origin is not None and origin.split("://")[-1] != headers.get("host")
    if foreign or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise ApiError("forbidden", "Pages of other sites may not use this server.")


def _shows_token(headers: Headers, token: str) -> bool:
    shown = headers.get("authorization", "")
    if shown[:7].lower() == "bearer ":
        return _equal(shown[7:].strip(), token)
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and _equal(cookie.value, token)


def _equal(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "replace"), token.encode())
