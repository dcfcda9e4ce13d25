"""Says where the time of an int8 file goes, op by op, for the table in docs/performance.md.

    python scripts/op_times.py atrous_fpn_camvid
    python scripts/op_times.py atrous_fpn_camvid --reference deeplabv3_mnv2_pascal_quant.tflite

Each op is cut out as a file of its own, with its weights, and run by LiteRT with XNNPACK on one
thread. Times are of that thread's work on the processor, the shortest of many runs, so that other
programs do little harm; read ratios. The whole file is timed in the same way, before and after.
"""

import argparse
import collections
import time
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tabulate import tabulate

from export.tflite.need import bytes_of, count_macs
from export.tflite.reader import ModelFile, Op, read_model
from kseg.models import TRAINED
from kseg.models.trained import packaged


def main() -> None:
    """Cuts, times and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a .tflite file, or the name of a trained network")
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--largest", type=int, default=12, help="ops that are listed by themselves")
    parser.add_argument("--reference", type=Path, help="a file that is timed in turn with it")
    arguments = parser.parse_args()
    record = TRAINED.get(arguments.file)
    path = Path(arguments.file)
    if record is not None:
        path = Path(str(packaged(str(record.int8_file), str(record.int8_sha256))))
    graph, content = read_model(path), path.read_bytes()
    if arguments.reference:
        _compare(content, arguments.reference.read_bytes(), arguments.runs)
        return
    before = _milliseconds(content, arguments.runs)
    times = [
        min(_milliseconds(_cut(content, op.index), arguments.runs) for _ in range(2))
        for op in graph.ops
    ]
    after = _milliseconds(content, arguments.runs)
    whole = min(before, after)
    total = sum(times)
    print(f"whole file {before:.2f} and {after:.2f} ms, sum of its ops {total:.2f} ms\n")
    kinds: dict[str, list[Op]] = collections.defaultdict(list)
    for op in graph.ops:
        kinds[_kind(op, graph)].append(op)
    order = sorted(kinds, key=lambda kind: -sum(times[op.index] for op in kinds[kind]))
    rows = [_row(kind, kinds[kind], graph, times, whole) for kind in order]
    headers = ["ops", "count", "share of the file's time", "share of its MACs", "GMAC/s"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True), "\n")
    largest = sorted(graph.ops, key=lambda op: -times[op.index])[: arguments.largest]
    rows = [_row(_shape(op, graph), [op], graph, times, whole) for op in largest]
    print(tabulate(rows, ["op", *headers[1:]], tablefmt="github", disable_numparse=True))


def _compare(content: bytes, reference: bytes, runs: int) -> None:
    """Prints the ratio of two files' times, measured A B A B."""
    times = [_milliseconds(each, runs) for each in (reference, content) * 2]
    ratio = min(times[1::2]) / min(times[::2])
    print(f"{' '.join(f'{each:.2f}' for each in times)} ms; ratio {ratio:.3f}")


def _row(title: str, ops: list[Op], graph: ModelFile, times: list[float], whole: float) -> list:
    spent = sum(times[op.index] for op in ops)
    macs = sum(count_macs(op, graph) for op in ops)
    every = sum(count_macs(op, graph) for op in graph.ops)
    speed = f"{macs / spent / 1e6:.0f}" if macs else ""
    return [title, len(ops), f"{100 * spent / whole:.1f} %", f"{100 * macs / every:.1f} %", speed]


def _kind(op: Op, graph: ModelFile) -> str:
    if op.name != "CONV_2D":
        return op.name
    height, width = graph.tensors[op.inputs[1]].shape[1:3]
    return f"CONV_2D {height} x {width}"


def _shape(op: Op, graph: ModelFile) -> str:
    tensors = graph.tensors
    taken, made = (tensors[t].shape[1:] for t in (op.inputs[0], op.outputs[0]))
    if op.name == "TRANSPOSE_CONV":
        taken = tensors[op.inputs[2]].shape[1:]
    name = f"{op.index} {_kind(op, graph)}"
    moved = bytes_of(tensors[op.outputs[0]]) / 2**20
    return f"{name}: {_times(taken)} to {_times(made)}, {moved:.1f} MiB"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _cut(content: bytes, index: int) -> bytes:
    """Returns a file of one op, with the constants that it takes."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    graph = model.subgraphs[0]
    op = graph.operators[index]
    used = {graph.tensors[t].buffer for t in (*op.inputs, *op.outputs) if t >= 0}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None
    graph.operators, graph.outputs = [op], list(op.outputs)
    graph.inputs = [
        t for t in op.inputs if t >= 0 and model.buffers[graph.tensors[t].buffer].data is None
    ]
    model.signatureDefs, model.metadata = [], []
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _milliseconds(content: bytes, runs: int) -> float:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        info = np.iinfo(detail["dtype"])
        values = rng.integers(info.min, info.max, detail["shape"], detail["dtype"])
        interpreter.set_tensor(detail["index"], values)
    found = []
    for _ in range(runs + 1):
        begin = time.thread_time()
        interpreter.invoke()
        found.append(1000 * (time.thread_time() - begin))
    return min(found[1:])


if __name__ == "__main__":
    main()
