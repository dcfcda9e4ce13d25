import contextlib
import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from kseg import web_images
from kseg.sources import find_sources
from kseg.web_images import read_from_web

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), "uint8")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        kind = self.path.strip("/").split(".")[0]
        content = io.BytesIO()
        Image.fromarray(PIXELS).save(content, "PNG")
        body = b"no image" if kind == "text" else content.getvalue()
        if kind == "silent":
            time.sleep(1)
        self.send_response({"gone": 404, "away": 302}.get(kind, 200))
        if kind == "away":
            self.send_header("Location", "http://example.org/a.png")
        self.send_header("Content-Length", str(len(body) + 9 * (kind == "short")))
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked may have gone
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


def test_an_image_comes_as_it_is(server):
    (source,) = find_sources([f"{server}/fine.png?size=2"]).sources
    ((output, image),) = source.frames(3, 1)
    assert str(output) == "fine"
    np.testing.assert_array_equal(image, PIXELS)
    assert read_from_web(f"{server}/fine.png", 1).shape == (6, 8, 1)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gone.png", r"gone\.png cannot be fetched: the server says 404\."),
        ("text.png", r"http://127\.0\.0\.1:\d+/text\.png: it cannot be read as an image"),
        ("short.png", r"short\.png cannot be fetched: it ended 9 bytes early\."),
        ("silent.png", r"silent\.png cannot be fetched: the server was silent for 0 seconds\."),
        ("away.png", r"http://example\.org/a\.png is not fetched: only https:// keeps what comes"),
    ],
)
def test_what_cannot_be_had_is_a_sentence(path, said, server, monkeypatch):
    monkeypatch.setattr(web_images, "_SILENCE", 0.3)
    with pytest.raises(ValueError, match=said):
        read_from_web(f"{server}/{path}", 3)


def test_size_and_time_are_limited(server, monkeypatch):
    monkeypatch.setattr(web_images, "_TOTAL", -1.0)
    with pytest.raises(ValueError, match="takes longer than"):
        read_from_web(f"{server}/fine.png", 3)
    monkeypatch.setattr(web_images, "_LARGEST", 20)
    with pytest.raises(ValueError, match="is larger than"):
        read_from_web(f"{server}/fine.png", 3)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://127.0.0.1:9/a.png", "there is no network, or no such server"),
        ("http://example.org/a.png", "only https:// keeps what comes unchanged"),
        ("https:///a.png", "is no address; one is https://example"),
        ("https://[a/b.png", "is no address; one is https://example"),
    ],
)
def test_addresses_that_lead_nowhere(address, said):
    with pytest.raises(ValueError, match=said):
        read_from_web(address, 3)
