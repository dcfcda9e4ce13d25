"""`kseg web`: makes a page that runs models in the browser."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import kseg
from kseg.cli.file_sizes import file_size
from kseg.cli.options import FILES, FileOptions, Flag, Size
from kseg.cli.output import say

if TYPE_CHECKING:
    from export.web.facts import WebModel
    from kseg.data import Data


def web(
    models: Annotated[
        list[str],
        Parameter(help=".tflite files, run folders, which are exported, or trained models."),
    ],
    /,
    *,
    out: Annotated[Path | None, Parameter(metavar="FOLDER", help="The page's folder.")] = None,
    serve: Annotated[Flag, Parameter(help="Serve the page on 127.0.0.1.")] = False,
    port: Annotated[int, Parameter(help="The port of --serve; 0 takes a free one.")] = 8000,
    runtime: Annotated[
        str,
        Parameter(
            help="litert or mediapipe from the npm CDN, or the folder of the unpacked npm package, "
            "which is copied into the page."
        ),
    ] = "litert",
    data: Annotated[
        Path | None,
        Parameter(help="The data set of a run folder, which becomes int8 then; float16 without."),
    ] = None,
    size: Annotated[
        Size, Parameter(help="The input of a run folder's file. Default: the run's working size.")
    ] = None,
    normalization: Annotated[
        str | None,
        Parameter(
            metavar="RANGE",
            group=FILES,
            allow_leading_hyphen=True,
            help="The range of pixels that a file wants: 0..1, -1..1, imagenet, or MEAN STD. "
            "Default: what its metadata say.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        Parameter(metavar="NAME", group=FILES, help="The output to use, where a file has several."),
    ] = None,
) -> None:
    """Makes a page that runs models in the browser, and serves it if asked to."""
    from export.web.page import check_request, make_page

    if out is None and not serve:
        raise ValueError("Name the page's folder with --out FOLDER, or pass --serve.")
    for option, given in (("--data", data), ("--size", size)):
        if given is not None and all(n.endswith(".tflite") or _shipped(n) for n in models):
            raise ValueError(
                f"{option} is for run folders, which are exported; {' and '.join(models)} is "
                "ready. Leave it out."
            )
    images = kseg.load_data(data) if data else None
    with tempfile.TemporaryDirectory(prefix="kseg-web-") as name:
        folder = Path(name)
        check_request(out or folder / "page", runtime)
        asked = FileOptions(normalization=normalization, output=output).given()
        files = [_file(model, images, size, folder, asked) for model in models]
        page = make_page(files, out or folder / "page", runtime=runtime)
        if serve:
            _serve(page, port)
        else:
            say(f"the page is in {page}; `python -m http.server --directory {page}` serves it")


def _file(
    name: str,
    data: "Data | None",
    size: tuple[int, int] | None,
    folder: Path,
    asked: dict[str, Any],
) -> "WebModel":
    """Returns the .tflite file of a model; a run folder is exported into the folder."""
    import keras

    from export import ExportOptions, convert, float16, full_integer
    from export.web.facts import WebModel
    from kseg.cli.opening import open_model, warn_if_names_differ

    if (shipped := _shipped(name)) is not None:
        for option in asked:
            raise ValueError(f"--{option} is for .tflite files of others; {name} is kseg's own.")
        return shipped
    opened, classes, working_size = open_model(name, **asked)
    if not isinstance(opened, keras.Model):
        opened.close()
        return WebModel(Path(name), classes, working_size, **asked)
    fitted = (size or working_size) if working_size is not None else None
    if data is not None:
        warn_if_names_differ(name, classes, data)
    result = convert(
        opened,
        float16() if data is None else full_integer(data.images("train", 100)),
        input_size=size or file_size(opened, None, working_size),
        path=folder / f"{Path(name).resolve().name}.tflite",
        validation=data,
        options=ExportOptions(classes=classes, working_size=fitted),
    )
    return WebModel(result.path, classes, fitted)


def _shipped(name: str) -> "WebModel | None":
    """Returns the trained network of a name, or None; a run folder goes before it."""
    from export.web.facts import zoo
    from kseg.models.trained import best_int8
    from kseg.training.run import find_trained, is_run

    record = None if is_run(name) else find_trained(name) or best_int8(name)
    return next((m for m in zoo() if record and m.path.name == record.int8_file), None)


def _serve(page: Path, port: int) -> None:
    from export.web.page import make_server

    with make_server(page, port) as server:
        say(f"the page is at http://127.0.0.1:{server.server_port}/; Ctrl+C ends it")
        server.serve_forever()
