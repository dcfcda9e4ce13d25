"""`kseg push`: puts a run on the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kseg.cli.options import Flag, record
from kseg.cli.output import say


@record
class PushOptions:
    """What `kseg push` takes.

    Attributes:
        private: If the model is new, let nobody else see it.
        license: A licence as the Hub names them, such as apache-2.0. Default: other.
        file: A file to put beside the run, such as an exported .tflite. May be repeated.
    """

    private: Flag = False
    license: Annotated[str, Parameter(metavar="NAME")] = "other"
    file: Annotated[tuple[Path, ...], Parameter(metavar="FILE", show_default=False)] = ()


def push(
    run: Annotated[Path, Parameter(help="A run folder.")],
    address: Annotated[str, Parameter(help="hf://user/name")],
    /,
    *,
    options: PushOptions = PushOptions(),
) -> None:
    """Puts the best weights of a run on the Hub, with a model card."""
    import tempfile

    from kseg.hub import send
    from kseg.training.pushing import gather

    with tempfile.TemporaryDirectory() as folder:
        gather(run, Path(folder), address, licence=options.license, files=options.file)
        page = send(Path(folder), address, private=options.private)
    say(f'{page}; next: kseg predict {address} IMAGE, or kseg.load("{address}")')
