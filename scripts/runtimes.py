"""Writes the tables of runtimes in docs/runtimes.md and of Coral's targets in docs/coral.md.

    python scripts/runtimes.py camvid.yaml
    python scripts/runtimes.py camvid.yaml --runtime iree

Each trained network's int8 file is run by `kseg verify NAME --data DATA --count N` in every runtime
that is installed, or in those that are named; the columns of the others stay as they are. IREE
takes a minute and more to compile a file.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from keeping import keep_to
from tabulate import tabulate
from zoo import off_tpu

from export.devices.tosa import check_tosa
from export.proof.runtimes import RUNTIMES
from kseg.models import TRAINED

_DOCS = Path(__file__).parent.parent / "docs"
_RUN = "from kseg.cli import run; run()"
_ALL, _TARGETS = "runtimes", "coral"


def main() -> None:
    """Verifies each network, then writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=2)
    parser.add_argument("--runtime", action="append", default=[], choices=list(RUNTIMES))
    parser.add_argument("--found", type=Path, help="a JSON file that keeps what was found")
    arguments = parser.parse_args()
    if arguments.found:
        keep_to(
            arguments.found.with_suffix(".settings.json"),
            arguments.found.exists(),
            **{name: getattr(arguments, name) for name in ("data", "count", "runtime")},
        )
    found = json.loads(arguments.found.read_text()) if _is_there(arguments.found) else {}
    for name in (name for name, record in TRAINED.items() if not record.things):
        if name not in found:
            found[name] = _verify(name, arguments)
            if arguments.found:
                arguments.found.write_text(json.dumps(found, indent=1))
        print(name, *(_cell(trial) for trial in found[name]), sep=" | ", flush=True)
    _write("runtimes.md", _ALL, *_by_runtime(found))
    _write("coral.md", _TARGETS, *_by_target(found))


def _is_there(path: Path | None) -> bool:
    return path is not None and path.exists()


def _verify(name: str, arguments: argparse.Namespace) -> list[dict]:
    command = [sys.executable, "-c", _RUN, "verify", name, "--json"]
    command += ["--data", str(arguments.data), "--count", str(arguments.count)]
    command += [word for runtime in arguments.runtime for word in ("--runtime", runtime)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if not done.stdout.strip():
        raise SystemExit(f"kseg verify {name} ended with {done.returncode}.")
    return json.loads(done.stdout)["runtimes"]


def _cell(trial: dict) -> str:
    if trial["like_model"] is None:
        return str(trial["status"])
    mark = "" if trial["status"] == "passed" else f" ({trial['status']})"
    return f"{100 * trial['like_model']:.2f} %{mark}"


def _by_runtime(found: dict[str, list[dict]]) -> tuple[list, list]:
    old, rows = _read("runtimes.md", _ALL), []
    for name, trials in found.items():
        cells = {**old.get(name, {}), **{trial["title"]: _cell(trial) for trial in trials}}
        rows.append([name, *(cells.get(each.title, "not run") for each in RUNTIMES.values())])
    return rows, ["network", *(each.title for each in RUNTIMES.values())]


def _by_target(found: dict[str, list[dict]]) -> tuple[list, list]:
    old, rows = _read("runtimes.md", _ALL), []
    for name in found:
        path = Path(__file__).parent.parent / "kseg/weights" / f"{name}.tflite"
        ops = check_tosa(path).ops
        doubts = [op for op in ops if op.placement == "uncertain"]
        said = f"{sum(op.placement != 'cpu' for op in ops)} of {len(ops)}"
        like = old[name][RUNTIMES["iree"].title]
        size = f"{path.stat().st_size / 1e6:.2f} MB"
        rows.append([name, size, off_tpu(path), said, like, len(doubts) or "none"])
    headers = [
        "network",
        "size",
        "ops off the Edge TPU",
        "ops that TOSA says",
        "IREE, like the model",
    ]
    return rows, [*headers, "resizes too large for Torq"]


def _read(page: str, mark: str) -> dict[str, dict[str, str]]:
    """Returns the table that stands in a page: network to title to cell."""
    text = (_DOCS / page).read_text(encoding="utf-8")
    table = text.partition(f"<!-- scripts/runtimes.py {mark} -->")[2].partition("<!--")[0]
    lines = [line.strip("|").split("|") for line in table.split("\n") if line]
    headers, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return {row[0]: dict(zip(headers, row, strict=True)) for row in rows}


def _write(page: str, mark: str, rows: list, headers: list) -> None:
    path = _DOCS / page
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    begin, end = f"<!-- scripts/runtimes.py {mark} -->", f"<!-- /scripts/runtimes.py {mark} -->"
    old = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    path.write_text(pattern.sub(lambda _: f"{begin}\n{table}\n{end}", old), encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
