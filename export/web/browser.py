"""Files in a browser: the page of `kseg web`, opened in Chromium without a window."""

import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from export.errors import ModelFileError
from export.proof.runtimes import BROWSERS, Labels, Subject
from export.web.facts import WebModel
from export.web.page import make_page, make_server
from export.web.runtimes import RUNTIMES, fetch_package

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_MILLISECONDS = 120_000  # for anything to happen, on a machine with other work


def label_by_litert(subject: Subject) -> Labels:
    """Labels images with LiteRT.js; see `label`."""
    return label(subject, "litert")


def label_by_mediapipe(subject: Subject) -> Labels:
    """Labels images with MediaPipe's package for browsers; see `label`."""
    return label(subject, "mediapipe")


def label(subject: Subject, runtime: str) -> Labels:
    """Labels images on the page that `kseg web` makes.

    Args:
        subject: The file and the images; classes must be known.
        runtime: A key of `export.web.runtimes.RUNTIMES`; npm fetches its package once.

    Returns:
        The label map of each image, uint8 (H, W).

    Raises:
        ModelFileError: If the page says that it cannot label an image.
        ValueError: If the file is none for a page, or npm cannot fetch the runtime.
    """
    if subject.classes is None:
        raise ValueError("a page needs the names of the classes")
    if subject.options.get("signature") is not None:
        raise ValueError("a page takes no --signature")
    found = RUNTIMES[runtime]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kseg/npm"
    package = fetch_package(f"{found.package}@{found.version}", cache)
    asked: dict[str, Any] = {
        name: subject.options.get(name) for name in ("normalization", "output")
    }
    model = WebModel(subject.path, subject.classes, subject.size, **asked)
    with tempfile.TemporaryDirectory(prefix="kseg-browser-") as folder:
        page = make_page([model], Path(folder) / "page", runtime=package)
        pictures = []
        for index, image in enumerate(subject.images):
            pictures.append(Path(folder) / f"{index}.png")
            Image.fromarray(np.asarray(np.rint(image), "uint8")).save(pictures[-1])
        with make_server(page) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            # Playwright wants a thread without an event loop, which this one may have.
            with ThreadPoolExecutor(1) as thread:
                done = thread.submit(_drive, f"http://127.0.0.1:{server.server_port}/", pictures)
                labels = done.result()
            server.shutdown()
    return labels


def _drive(address: str, pictures: list[Path]) -> Labels:
    from playwright.sync_api import Error, sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    with (
        sync_playwright() as started,
        started.chromium.launch(executable_path=path, args=FLAGS) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(_MILLISECONDS)
        try:
            page.goto(address)
            _wait(page, page.locator("#choose:enabled"))
            return [_label(page, picture) for picture in pictures]
        except Error as error:
            raise ModelFileError(f"Chromium: {str(error).splitlines()[0]}") from None


def _label(page: Any, picture: Path) -> np.ndarray:
    page.set_input_files("#file", picture)
    _wait(page, page.locator("#status", has_text="Labelled:"))
    with page.expect_download() as download:
        page.click("#save-labels")
    with Image.open(download.value.path()) as image:
        return np.array(image)


def _wait(page: Any, place: Any) -> None:
    error = page.locator("#error:visible")
    place.or_(error).first.wait_for()
    if error.count():
        raise ModelFileError(f"the page says: {error.text_content()}")
