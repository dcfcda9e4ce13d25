"""The two runtimes that run .tflite files in browsers, as npm packages."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path


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


def open_package(folder: Path) -> tuple[Runtime, str]:
    """Says which runtime an unpacked npm package is.

    Args:
        folder: With package.json, as `npm pack` and `tar` make it.

    Returns:
        The runtime and the package's version.

    Raises:
        ValueError: If it is none, or lacks a file.
    """
    packages = {runtime.package: runtime for runtime in RUNTIMES.values()}
    wanted = " or ".join(packages)
    fix = f"unpack what `npm pack {packages and next(iter(packages))}` fetches and name that folder"
    try:
        record = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        runtime, version = packages[record["name"]], str(record["version"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ValueError(
            f"{folder} is not the unpacked npm package {wanted} (its package.json would say so); "
            f"{fix}."
        ) from None
    for file in runtime.files:
        if not (folder / file).is_file():
            raise ValueError(
                f"{folder} lacks {file}; kseg is tested with {runtime.package} {runtime.version}: "
                f"unpack what `npm pack {runtime.package}@{runtime.version}` fetches."
            )
    return runtime, version


def copy_package(runtime: Runtime, source: Path, target: Path) -> None:
    """Copies what a page needs of an unpacked package."""
    for file in (*runtime.files, "package.json"):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target / file)
