"""The two runtimes that run .tflite files in browsers, as npm packages."""

import contextlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 300  # for npm to fetch a package


@dataclass(frozen=True)
class Runtime:
    """An npm package.

    Attributes:
        name: What the page's script calls it.
        title: What the page says.
        package: Its name on npm.
        version: The one that is tested.
        files: What the page needs of it.
    """

    name: str
    title: str
    package: str
    version: str
    files: tuple[str, ...]

    def address(self) -> str:
        """Returns where the npm CDN has it."""
        return f"https://cdn.jsdelivr.net/npm/{self.package}@{self.version}/"


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            name="litert",
            title="LiteRT.js",
            package="@litertjs/core",
            version="2.5.3",
            files=(
                "dist/index.js",
                "wasm/litert_wasm_internal.js",
                "wasm/litert_wasm_internal.wasm",
                "wasm/litert_wasm_compat_internal.js",
                "wasm/litert_wasm_compat_internal.wasm",
            ),
        ),
        Runtime(
            name="mediapipe",
            title="MediaPipe",
            package="@mediapipe/tasks-vision",
            version="1.1.0",
            files=(
                "vision_bundle.mjs",
                "wasm/vision_wasm_internal.js",
                "wasm/vision_wasm_internal.wasm",
                "wasm/vision_wasm_nosimd_internal.js",
                "wasm/vision_wasm_nosimd_internal.wasm",
            ),
        ),
    )
}


def open_runtime(runtime: str | Path) -> tuple[Runtime, str, Path | None]:
    """Says which runtime a page is to use.

    Args:
        runtime: "litert" or "mediapipe", from the npm CDN; or the folder of an unpacked npm
            package, as `npm pack` and `tar` make it.

    Returns:
        The runtime, its version, and the folder, None for the CDN.

    Raises:
        ValueError: If it is none, or the folder lacks a file.
    """
    if str(runtime) in RUNTIMES:
        found = RUNTIMES[str(runtime)]
        return found, found.version, None
    folder = Path(runtime)
    packages = {found.package: found for found in RUNTIMES.values()}
    try:
        record = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        found, version = packages[record["name"]], str(record["version"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ValueError(
            f"runtime must be {' or '.join(RUNTIMES)}, or the folder of an unpacked npm package "
            f"{' or '.join(packages)}, with its package.json; got {runtime}. `npm pack "
            f"{next(iter(packages))}` fetches one, tar -xzf unpacks it."
        ) from None
    for file in found.files:
        if not (folder / file).is_file():
            raise ValueError(
                f"{folder} lacks {file}; unpack what `npm pack {found.package}@{found.version}` "
                "fetches, the version that kseg is tested with."
            )
    return found, version, folder


def copy_package(runtime: Runtime, source: Path, target: Path) -> None:
    """Copies what a page needs of an unpacked package."""
    for file in (*runtime.files, "package.json"):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target / file)


def fetch_package(package: str, cache: Path) -> Path:
    """Fetches an npm package once.

    Args:
        package: "name@version".
        cache: The folder that keeps it.

    Returns:
        The folder of the unpacked package.

    Raises:
        ValueError: If npm is missing or cannot fetch it.
    """
    folder = cache / package.strip("@").replace("/", "-")
    if folder.is_dir():
        return folder
    if shutil.which("npm") is None:
        raise ValueError("npm is not installed: apt-get install npm")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        done = subprocess.run(
            ["npm", "pack", package, "--pack-destination", made],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        archive = next(Path(made).glob("*.tgz"), None)
        if done.returncode or archive is None:
            raise ValueError(f"npm cannot fetch {package}: {done.stderr.strip()[-200:]}")
        _unpack(archive, Path(made).resolve())
        with contextlib.suppress(OSError):  # another process was faster
            (Path(made) / "package").rename(folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks the plain files of an archive; Python 3.11.2, which Debian 12 has, has no filters."""
    with tarfile.open(archive) as files:
        for member in files:
            target = (folder / member.name).resolve()
            content = files.extractfile(member) if member.isfile() else None
            if content is not None and target.is_relative_to(folder):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
