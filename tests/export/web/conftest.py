"""Chromium, and the npm packages that pages run on; where either is missing, tests skip."""

import threading

import numpy as np
import pytest
from PIL import Image

from export.web.page import make_server
from export.web.runtimes import RUNTIMES, fetch_package
from kseg.data.synthetic import draw_shapes

_AXE = "axe-core@4.14.1"
_MILLISECONDS = 120_000  # for anything to happen, on a machine with other work


@pytest.fixture(scope="session")
def npm_package(request):
    """A function that fetches an npm package once: "name@version" -> its unpacked folder."""
    cache = request.config.cache.mkdir("npm")

    def fetch(package):
        try:
            return fetch_package(package, cache)
        except ValueError as error:
            pytest.skip(str(error))

    return fetch


@pytest.fixture(scope="session")
def runtime_package(npm_package):
    """A function from the name of a runtime to its unpacked package, of the tested version."""
    return lambda name: npm_package(f"{RUNTIMES[name].package}@{RUNTIMES[name].version}")


@pytest.fixture(scope="session")
def axe(npm_package):
    """The script of axe-core, which judges accessibility."""
    return npm_package(_AXE) / "axe.min.js"


class Opened:
    """A page in the browser, and what it said and asked for."""

    def __init__(self, context, address):
        self.address, self.errors, self.foreign = address, [], []
        self.page = context.new_page()
        self.page.set_default_timeout(_MILLISECONDS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)

    def _heard(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def _asked(self, request):
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.foreign.append(request.url)

    def load(self):
        self.page.goto(self.address)
        self.ready()
        return self

    def ready(self):
        """Waits for the page, or for a sentence that says why not; returns that."""
        error = self.page.locator("#error:visible")
        self.page.locator("#choose:enabled").or_(error).first.wait_for()
        return self.error()

    def error(self):
        return self.page.locator("#error").text_content()

    def says(self, selector):
        return self.page.locator(selector).text_content()

    def model(self, title):
        """Opens another network; where a picture is shown, waits until it is labelled anew."""
        shown = self.page.locator("#picture").is_visible()
        self.page.select_option("#model", title)
        self.page.locator("#title", has_text=title).wait_for()
        self.labelled() if shown else self.ready()

    def choose(self, picture):
        """Chooses a picture and waits for its labels, or for a sentence; returns that."""
        self.page.set_input_files("#file", picture)
        return self.labelled()

    def labelled(self):
        done = self.page.locator("#status", has_text="Labelled:")
        done.or_(self.page.locator("#error:visible")).first.wait_for()
        return self.error()

    def saved(self, button):
        """Returns the picture that a button saves, and its file's name."""
        with self.page.expect_download() as download:
            self.page.click(button)
        with Image.open(download.value.path()) as image:
            image.load()
        return image, download.value.suggested_filename

    def labels(self):
        return np.asarray(self.saved("#save-labels")[0])


@pytest.fixture
def open_page(browser):
    """A function that serves a folder and opens it: (folder, **options of the context) -> Opened.

    At the end, no page may have complained or have asked another host, unless its lists are
    emptied by then.
    """
    opened, servers = [], []

    def open_folder(folder, **options):
        server = make_server(folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        context = browser.new_context(**options)
        opened.append(Opened(context, f"http://127.0.0.1:{server.server_port}/"))
        return opened[-1]

    yield open_folder
    for page in opened:
        page.page.context.close()
    for server in servers:
        server.shutdown()
        server.server_close()
    for page in opened:
        assert page.errors == []
        assert page.foreign == []


def _draw(seed, size):
    image, _ = draw_shapes(np.random.default_rng(seed), max(size))
    return image.crop((0, 0, size[1], size[0]))


@pytest.fixture
def draw():
    """A function that draws shapes: (seed, (height, width)) -> an image."""
    return _draw


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Three files: of the size of the zoo's files, a larger one, and a narrow small one."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for seed, size in enumerate([(360, 480), (613, 700), (150, 61)]):
        paths.append(folder / f"{seed}.png")
        _draw(seed, size).save(paths[-1])
    return paths
