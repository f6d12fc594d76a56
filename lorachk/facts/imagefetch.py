"""Fetching an image from an http(s) URL, with a limit on time and size. Only done when the user asks for it."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from http.client import HTTPException

_LARGEST = 64 << 20  # bytes
_PIECE = 1 << 16


class NotFetched(Exception):
    """The text says why, in a short clause."""


def fetch(url: str, *, seconds: float = 20.0, largest: int = _LARGEST) -> bytes:
    """Content behind `url`. Raises NotFetched; never reads more than `largest` bytes or for longer than `seconds`."""
    if not url.lower().startswith(("http://", "https://")):
        raise NotFetched("only http and https are fetched")
    end = time.monotonic() + seconds
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "lorachk"})  # noqa: S310 - http(s), see above
        with _opener().open(request, timeout=min(seconds, 10.0)) as answer:
            pieces, size = [], 0
            while piece := answer.read1(_PIECE):
                size += len(piece)
                if size > largest:
                    raise NotFetched(f"larger than {largest >> 20} MiB")
                if time.monotonic() > end:
                    raise NotFetched(f"takes more than {seconds:g} s to fetch")
                pieces.append(piece)
    except urllib.error.HTTPError as error:
        raise NotFetched(f"HTTP {error.code}") from None
    except urllib.error.URLError as error:
        raise NotFetched(f"cannot be fetched: {error.reason}") from None
    except (OSError, ValueError, HTTPException) as error:
        raise NotFetched(f"cannot be fetched: {str(error) or type(error).__name__}") from None
    return b"".join(pieces)


def _opener() -> urllib.request.OpenerDirector:
    """Knows http, https and the proxies of the environment; a redirect cannot lead to file: or ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
