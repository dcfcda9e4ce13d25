"""The verb `web`: its arguments, and what it does; nothing heavy is imported before it runs."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.web.facts import WebModel
    from kseg.data import Data


def add_web(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a .tflite file, a run folder, which is exported, or the name of a trained model",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the page's folder")
    parser.add_argument("--serve", action="store_true", help="serve it on 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="of --serve; 0: a free one (8000)")
    parser.add_argument(
        "--runtime",
        default="litert",
        help="litert or mediapipe, from the npm CDN; or the folder of the unpacked npm package, "
        "which is copied (litert)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="YAML file of a data set: a run folder becomes int8 then (otherwise float16)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="input of a run folder's file (default: the run's)",
    )


def web(arguments: argparse.Namespace) -> None:
    """Makes a page that runs models in the browser, and serves it if asked to."""
    import kseg
    from export.web.page import check_request, make_page
    from kseg.cli.opening import pair

    if arguments.out is None and not arguments.serve:
        raise ValueError("Name the page's folder with --out FOLDER, or pass --serve.")
    data = kseg.load_data(arguments.data) if arguments.data else None
    with tempfile.TemporaryDirectory(prefix="kseg-web-") as name:
        folder = Path(name)
        check_request(arguments.out or folder / "page", arguments.runtime)
        models = [_file(model, data, pair(arguments.size), folder) for model in arguments.models]
        page = make_page(models, arguments.out or folder / "page", runtime=arguments.runtime)
        if arguments.serve:
            _serve(page, arguments.port)
        else:
            print(f"the page is in {page}; `python -m http.server --directory {page}` serves it")


def _file(name: str, data: "Data | None", size: tuple[int, int] | None, folder: Path) -> "WebModel":
    """Returns the .tflite file of a model; a run folder is exported into the folder."""
    import keras

    from export import ExportOptions, convert, float16, full_integer
    from export.web.facts import WebModel, zoo
    from kseg.cli.opening import open_model, warn_if_names_differ
    from kseg.models.trained import best_int8
    from kseg.training.run import find_trained, is_run

    if not is_run(name):
        record = find_trained(name) or best_int8(name)
        for model in zoo():
            if record is not None and model.path.name == record.int8_file:
                return model
    opened, classes, working_size = open_model(name)
    if not isinstance(opened, keras.Model):
        opened.close()
        return WebModel(Path(name), classes, working_size)
    size = size or working_size
    if size is None:
        raise ValueError(f"{name} has no working size; name the file's input with --size H W.")
    if data is not None:
        warn_if_names_differ(name, classes, data)
    result = convert(
        opened,
        float16() if data is None else full_integer(data.images("train", 100)),
        input_size=size,
        path=folder / f"{Path(name).resolve().name}.tflite",
        validation=data,
        options=ExportOptions(classes=classes, working_size=size),
    )
    return WebModel(result.path, classes, size)


def _serve(page: Path, port: int) -> None:
    from export.web.page import make_server

    with make_server(page, port) as server:
        print(f"the page is at http://127.0.0.1:{server.server_port}/; Ctrl+C ends it", flush=True)
        server.serve_forever()
