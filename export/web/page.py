"""Filling a folder with the page, and serving it."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from export.web.facts import WebModel, read_facts
from export.web.runtimes import copy_package, open_runtime

_STATIC = Path(__file__).with_name("static")
_MARK = "models.json"  # a folder with it is a page of ours


def make_page(
    models: Sequence[WebModel], out: str | Path, *, runtime: str | Path = "litert"
) -> Path:
    """Fills a folder with a page that runs .tflite files; any static host serves it.

    Args:
        models: The files; the page opens with the first and offers the others.
        out: The folder. An earlier page there is replaced, anything else is not touched.
        runtime: "litert" or "mediapipe", from the npm CDN in the version that is tested; or the
            folder of the unpacked npm package, which is copied, so that the page asks no other
            host.

    Returns:
        The folder.

    Raises:
        ModelFileError: If LiteRT cannot run a file.
        ValueError: If an argument is wrong, or the folder holds something else.
    """
    out, old = Path(out), check_request(out, runtime)
    found, version, package = open_runtime(runtime)
    facts = [read_facts(model, found.name) for model in models]
    names = [fact["file"] for fact in facts]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"models must be files of different names; got {names}.")
    out.mkdir(parents=True, exist_ok=True)
    kept = {model.path.resolve() for model in models}  # one may lie in the folder already
    for file in old:
        if file.resolve() not in kept:
            file.unlink(missing_ok=True)
    shutil.rmtree(out / "runtime", ignore_errors=True)
    for file in sorted(_STATIC.iterdir()):
        shutil.copyfile(file, out / file.name)
    for model in models:
        if model.path.resolve() != (out / model.path.name).resolve():
            shutil.copyfile(model.path, out / model.path.name)
    if package is not None:
        copy_package(found, package, out / "runtime")
    used = {
        "name": found.name,
        "title": f"{found.title} {version}",
        "base": found.address() if package is None else "runtime/",
    }
    record = {"runtime": used, "models": facts}
    (out / _MARK).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return out


def check_request(out: str | Path, runtime: str | Path) -> list[Path]:
    """Refuses at once what `make_page` would refuse after an export.

    Args:
        out: As for `make_page`.
        runtime: As for `make_page`.

    Returns:
        What of an earlier page in the folder would be removed.

    Raises:
        ValueError: If an argument is wrong, or the folder holds something else.
    """
    out = Path(out)
    _, _, package = open_runtime(runtime)
    if package is not None and package.resolve().is_relative_to((out / "runtime").resolve()):
        raise ValueError(
            f"{package} is the page's own copy of the runtime, which is made anew; name the npm "
            "package that it came from."
        )
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder for the page.")
    if not out.exists() or not any(out.iterdir()):
        return []
    if not (out / _MARK).is_file():
        raise ValueError(f"{out} holds other files; name a new folder for the page.")
    try:
        old = json.loads((out / _MARK).read_text(encoding="utf-8"))
        names = [Path(str(model["file"])).name for model in old["models"]]
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{out / _MARK} is no page's of kseg; name a new folder.") from None
    return [out / name for name in names if name]


class _Handler(SimpleHTTPRequestHandler):
    # Windows takes types from its registry, where .js may be anything.
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".json": "application/json",
        ".mjs": "text/javascript",
        ".tflite": "application/octet-stream",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # a page that was made anew is seen
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def make_server(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """Returns a server of a page on this machine alone; `serve_forever` runs it.

    Args:
        folder: As `make_page` filled it.
        port: 0 takes a free one; `server_port` says which.

    Raises:
        ValueError: If the port cannot be had.
    """
    handler = partial(_Handler, directory=str(folder))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"port {port} cannot be had ({error}); name another, or 0 for any free one."
        ) from None
