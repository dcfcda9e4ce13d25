"""The process that runs a .tflite file: a hostile or broken file can crash it, but not kseg.

Started by `export.tflite.runtime` as a script, so it imports nothing of kseg. It reads one line of
JSON and the bytes of the input from standard input, and answers in the same way.
"""

import json
import os
import resource
import sys
import time

import numpy as np


def main() -> None:
    """Loads the file named by the arguments, then serves requests until its input ends."""
    path, threads, kernels, library = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory()
    # Libraries that print to standard output would break the answers: give them the other one.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate

    resolvers = {
        "default": OpResolverType.AUTO,
        "reference": OpResolverType.BUILTIN_REF,
        "plain": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }
    with open(path, "rb") as file:
        content = file.read()
    begin = time.perf_counter()
    try:
        delegates = [load_delegate(library)] if library else None
    except (OSError, ValueError) as error:
        reason = str(error).strip().rstrip(".") or "it gives no reason"
        _answer(answers, {"delegate": reason})
        return
    interpreter = Interpreter(
        model_content=content,
        experimental_delegates=delegates,
        num_threads=threads,
        experimental_op_resolver_type=resolvers[kernels],
    )
    interpreter.allocate_tensors()
    details = [interpreter.get_input_details()[0], interpreter.get_output_details()[0]]
    facts = {key: _facts(d) for key, d in zip(("input", "output"), details, strict=True)}
    _answer(answers, {**facts, "load_ms": 1000 * (time.perf_counter() - begin)})
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        empty = np.empty(details[0]["shape"], details[0]["dtype"])
        array = np.frombuffer(sys.stdin.buffer.read(empty.nbytes), empty.dtype)
        array = array.reshape(empty.shape)
        interpreter.set_tensor(details[0]["index"], array)
        times = []
        for _ in range(request["runs"]):
            begin = time.perf_counter()
            interpreter.invoke()
            times.append(1000 * (time.perf_counter() - begin))
        output = interpreter.get_tensor(details[1]["index"]).tobytes()
        _answer(answers, {"times_ms": times, "peak_kib": _peak_kib(), "bytes": len(output)}, output)


def _peak_kib():
    """Returns the most memory this process has held; getrusage would count its parent's too."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit_memory():
    """Keeps a file that asks for more than there is from taking the machine down with it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = total if hard == resource.RLIM_INFINITY else min(total, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _facts(detail):
    return {
        "name": detail["name"],
        "shape": detail["shape"].tolist(),
        "dtype": np.dtype(detail["dtype"]).name,
        "scale": float(detail["quantization"][0]),
        "zero_point": int(detail["quantization"][1]),
    }


def _answer(stream, message, content=b""):
    stream.write(json.dumps(message).encode() + b"\n" + content)
    stream.flush()


if __name__ == "__main__":
    main()
