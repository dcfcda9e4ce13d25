"""Models on the Hugging Face Hub: hf://user/name is a run folder there.

The address of the Hub is in $HF_ENDPOINT, the token in $HF_TOKEN or where `hf auth login` put it.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np
from h5py import h5g

from kseg.plain_hdf5 import own, plain
from kseg.safe_files import read_json

if TYPE_CHECKING:
    import keras

_PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_FILES = ["run.json", "checkpoints/*"]
_LIMIT = 32_000_000  # bytes of a JSON file

_T = TypeVar("_T")


def is_on_hub(name: object) -> bool:
    """Returns whether a name is the address of a model on the Hub."""
    return isinstance(name, str) and name.startswith(_PREFIX)


def fetch(address: str) -> Path:
    """Returns the run folder of a model on the Hub; what was fetched before is in its cache.

    Args:
        address: hf://user/name, or hf://user/name@revision for a certain version.

    Raises:
        ImportError: If huggingface_hub is not installed.
        ValueError: If there is no such model, or neither the Hub nor a copy is at hand.
    """
    name, revision = _parts(address)
    hub = _library()
    # Given here, because huggingface_hub reads the environment when it is imported.
    place = {"endpoint": os.environ.get("HF_ENDPOINT"), "cache_dir": _cache()}
    folder = _said(
        address,
        lambda: hub.snapshot_download(
            name, revision=revision, allow_patterns=_FILES, library_name="kseg", **place
        ),
    )
    if not (Path(folder) / "run.json").is_file():
        raise ValueError(f"{address} holds no model that kseg pushed: it has no run.json.")
    return Path(folder)


def send(folder: Path, address: str, *, private: bool = False) -> str:
    """Uploads a folder as a model; checkpoints that were there go.

    Args:
        folder: What the model is to hold.
        address: hf://user/name.
        private: Whether a new model is seen by its owner alone.

    Returns:
        The address of its page.

    Raises:
        ImportError: If huggingface_hub is not installed.
        ValueError: If the address is wrong, or the Hub refuses or cannot be reached.
    """
    name, revision = _parts(address)
    if revision:
        raise ValueError(f"{address} names a version; a push makes a new one: leave @{revision}.")
    hub = _library()
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="kseg")

    def upload() -> str:
        api.create_repo(name, exist_ok=True, private=private)
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        there = api.list_repo_files(name)
        old = [n for n in there if n.startswith("checkpoints/") and n not in files]
        changes = [hub.CommitOperationDelete(n) for n in old]
        changes += [hub.CommitOperationAdd(n, str(path)) for n, path in sorted(files.items())]
        api.create_commit(name, changes, commit_message="kseg push")
        return f"{api.endpoint}/{name}"

    return _said(address, upload)


def load_hub_weights(model: "keras.Model", address: str) -> None:
    """Sets the weights of a network to those of a model on the Hub, and its working size.

    Args:
        model: A network that one of kseg's builders made.
        address: hf://user/name, whose model was built with the same arguments.

    Raises:
        ImportError: If huggingface_hub is not installed.
        ValueError: If it cannot be fetched, is of another network, or a file has another hash
            than its manifest says.
    """
    folder = fetch(address)
    record = read_json(folder / "run.json", limit=_LIMIT)
    spec, wanted = record.get("spec"), model.kseg_spec
    if spec != wanted:
        found = f"{spec['builder']} with {spec['arguments']}" if spec else "of no builder of kseg"
        raise ValueError(
            f"{address} is {found}, and this is {wanted['builder']} with {wanted['arguments']}; "
            f"kseg.load({address!r}) builds it as it is."
        )
    checkpoints = sorted((folder / "checkpoints").glob("[0-9]*/manifest.json"))
    if not checkpoints:
        raise ValueError(f"{address} has no checkpoint; push it again.")
    manifest = read_json(checkpoints[-1], limit=_LIMIT)
    file = checkpoints[-1].with_name("weights.h5")
    stated = manifest.get("sha256", {}).get("weights.h5")
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != stated:
        raise ValueError(f"{file} is damaged: its sha256 is not that of its manifest.")
    arrays = _arrays(file)
    if [a.shape for a in arrays] != [tuple(v.shape) for v in model.variables]:
        raise ValueError(f"{address} holds the weights of another network.")
    for variable, array in zip(model.variables, arrays, strict=True):
        variable.assign(array)
    if record.get("saw_val") or (record.get("recipe") or {}).get("with_val"):
        model.kseg_saw_val = tuple(record["classes"]["names"])
    model.kseg_bits = record.get("bits")
    if record.get("size"):
        model.kseg_size = tuple(record["size"])
    if record.get("things"):
        model.kseg_things = tuple(record["things"])


def _arrays(file: Path) -> list[np.ndarray]:
    with h5py.File(file, "r") as opened:
        group = own(opened.id, "average")
        if not isinstance(group, h5g.GroupID):
            raise ValueError(f"{file} has no group 'average'.")
        arrays = []
        for index in range(group.get_num_objs()):
            dataset = plain(own(group, f"{index:05d}"), f"average/{index:05d}")
            arrays.append(np.empty(dataset.shape, dataset.dtype))
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, arrays[-1])
        return arrays


def _parts(address: str) -> tuple[str, str | None]:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(
            f"{address} must be hf://user/name, or hf://user/name@revision for a certain version."
        )
    return match[1], match[2]


def _cache() -> str | None:
    home = os.environ.get("HF_HOME")
    return os.environ.get("HF_HUB_CACHE") or (home and str(Path(home) / "hub"))


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "Addresses hf://... need huggingface_hub: pip install 'kseg[hub]'."
        ) from error
    return huggingface_hub


def _said(address: str, action: Callable[[], _T]) -> _T:
    """Does something with the Hub, and says in one sentence what is wrong."""
    from huggingface_hub import errors

    try:
        return action()
    except errors.GatedRepoError:
        why = "its owner must let you in first, on its page"
    except errors.RepositoryNotFoundError:
        why = "there is no such model, or it is private (hf auth login)"
    except errors.RevisionNotFoundError:
        why = "it has no such version"
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        why = f"the Hub says {status}" + " (hf auth login)" * (status in (401, 403))
    except (errors.LocalEntryNotFoundError, errors.LocalTokenNotFoundError) as error:
        token = isinstance(error, errors.LocalTokenNotFoundError)
        why = "you are not logged in (hf auth login)" if token else _UNREACHED
    except errors.HFValidationError as error:
        why = " ".join(str(error).split())[:200].rstrip(".")
    except Exception as error:
        # Its HTTP library is httpx in one version and httpx2 in another.
        if not isinstance(error, OSError) and not type(error).__module__.startswith("httpx"):
            raise
        why = _UNREACHED
    raise ValueError(f"{address}: {why}.") from None


_UNREACHED = "the Hub cannot be reached, and no copy was fetched before"
