"""Images behind URLs, fetched when asked: a server must not be able to hang or fill the machine that checks."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from lorachk.facts.imagefetch import NotFetched, fetch
from lorachk.facts.images import inspect_all


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/a.png":
            out = io.BytesIO()
            Image.new("RGB", (12, 8)).save(out, "PNG")
            self._answer(200, out.getvalue())
        elif self.path == "/large":
            self._answer(200, b"x" * 200_000)
        elif self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self._answer(404, b"<html>no</html>")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_urls_are_looked_at_like_files(server: str) -> None:
    found = dict(inspect_all([f"{server}/a.png", f"{server}/none.png"], 2, workers=1))
    there, missing = found[f"{server}/a.png"], found[f"{server}/none.png"]
    assert there is not None
    assert missing is not None
    assert (there.width, there.decodes) == (12, True)
    assert (missing.decodes, missing.problem) == (False, "HTTP 404")


def test_limits_hold(server: str) -> None:
    with pytest.raises(NotFetched, match="larger"):
        fetch(f"{server}/large", largest=100_000)
    with pytest.raises(NotFetched, match="takes more than"):
        fetch(f"{server}/slow", seconds=0.3)
    with pytest.raises(NotFetched):
        fetch("http://127.0.0.1:1/a.png")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x.org/a", "{}/file"])
def test_nothing_but_the_web_is_read(server: str, url: str) -> None:
    """A dataset from the internet must not read this machine's files."""
    with pytest.raises(NotFetched):
        fetch(url.format(server))
