"""The process that runs a .tflite file: a hostile or broken file can crash it, but not kseg.

Started by `export.tflite.process` as a script, so it imports nothing of kseg. It reads lines of
JSON and the bytes of the input from standard input, and answers in the same way.
"""

import ctypes
import json
import math
import os
import resource
import runpy
import signal
import sys
import threading
import time

import numpy as np

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_MOST_PRINTED = 64 << 20  # bytes of the file that takes what libraries print


def main() -> None:
    """Loads the file named by the arguments, then serves requests until its input ends."""
    path, settings = sys.argv[1], json.loads(sys.argv[2])
    _die_with(settings["parent"], of_main_thread=settings["main_thread"])
    _limit(settings)
    # Libraries that print to standard output would break the answers: give them the other one.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from ai_edge_litert.interpreter import load_delegate

    begin = time.perf_counter()
    try:
        delegates = [load_delegate(settings["delegate"])] if settings["delegate"] else None
    except (OSError, ValueError) as error:
        reason = str(error).strip().rstrip(".") or "it gives no reason"
        _answer(answers, {"delegate": reason})
        return
    interpreter, refusal = _load(path, settings, delegates)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    facts = {"inputs": [_facts(d) for d in inputs], "outputs": [_facts(d) for d in outputs]}
    _answer(answers, {**facts, "refusal": refusal, "load_ms": 1000 * (time.perf_counter() - begin)})
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        if request["bytes"]:
            array = np.frombuffer(sys.stdin.buffer.read(request["bytes"]), inputs[0]["dtype"])
            interpreter.set_tensor(inputs[0]["index"], array.reshape(inputs[0]["shape"]))
        else:
            _fill(interpreter, inputs)
        _limit_seconds(request["seconds"])
        times = []
        for _ in range(request["runs"]):
            begin = time.perf_counter()
            interpreter.invoke()
            times.append(1000 * (time.perf_counter() - begin))
        # The shape after the run: that of an output whose size is computed is not known before.
        found = [interpreter.get_tensor(outputs[n]["index"]) for n in request["outputs"]]
        made = [{"shape": x.shape, "dtype": x.dtype.name, "bytes": x.nbytes} for x in found]
        fits = all(x.nbytes <= request["most"] for x in found)
        message = {"times_ms": times, "peak_kib": _peak_kib(), "outputs": made}
        _answer(answers, message, b"".join(x.tobytes() for x in found) if fits else b"")


def _load(path, settings, delegates):
    """Returns an interpreter, and why XNNPACK refuses the file, or None if it does not."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolvers = {
        "default": OpResolverType.AUTO,
        "reference": OpResolverType.BUILTIN_REF,
        "plain": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }

    if settings["engine"]:
        return _Engine(path, settings), None
    file = open(path, "rb")  # stays open: it is mapped, not read
    name = f"/dev/fd/{file.fileno()}"  # the path's own bytes need not be UTF-8

    def load(kernels):
        interpreter = Interpreter(
            model_path=name,
            experimental_delegates=delegates,
            num_threads=settings["threads"],
            experimental_op_resolver_type=resolvers[kernels],
        )
        if settings["signature"]:
            return _Function(interpreter, settings)
        for detail, shape in zip(interpreter.get_input_details(), settings["shapes"], strict=False):
            if detail["shape"].tolist() != shape:
                interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
        return interpreter

    try:
        return load(settings["kernels"]), None
    except (RuntimeError, ValueError) as error:
        if settings["kernels"] != "default" or delegates:
            raise
        try:
            return load("plain"), str(error).strip().splitlines()[-1][:160]
        except (RuntimeError, ValueError):
            raise error from None


class _Function:
    """A signature of a file whose graph is not the first, asked as an interpreter is."""

    def __init__(self, interpreter, settings):
        self._runner = interpreter.get_signature_runner(settings["signature"])
        self._takes = [self._runner.get_input_details()[n] for n in settings["takes"]]
        self._gives = [self._runner.get_output_details()[n] for n in settings["gives"]]
        self._names, self._values = (settings["takes"], settings["gives"]), {}
        for detail, shape in zip(self._takes, settings["shapes"], strict=False):
            detail["shape"] = np.array(shape)  # the runner resizes to what it is given

    def get_input_details(self):
        return self._takes

    def get_output_details(self):
        return self._gives

    def set_tensor(self, index, array):
        self._values[index] = array

    def invoke(self):
        takes, gives = self._names
        details = zip(takes, self._takes, strict=True)
        found = self._runner(**{name: self._values[detail["index"]] for name, detail in details})
        for name, detail in zip(gives, self._gives, strict=True):
            self._values[detail["index"]] = found[name]

    def get_tensor(self, index):
        return self._values[index]


class _Engine:
    """Another runtime, asked as LiteRT's interpreter is, which tells of inputs and outputs."""

    def __init__(self, path, settings):
        from ai_edge_litert.interpreter import Interpreter

        facts = Interpreter(model_path=path)
        self.get_input_details, self.get_output_details = (
            facts.get_input_details,
            facts.get_output_details,
        )
        load = runpy.run_path(settings["engine"])["load"]
        self._run = load(path, self.get_input_details(), self.get_output_details())
        self._values = {}

    def set_tensor(self, index, array):
        self._values[index] = array

    def invoke(self):
        results = self._run([self._values[d["index"]] for d in self.get_input_details()])
        for detail, result in zip(self.get_output_details(), results, strict=True):
            self._values[detail["index"]] = np.asarray(result, detail["dtype"])

    def get_tensor(self, index):
        return self._values[index]


def _fill(interpreter, inputs):
    """Sets numbers that any op can compute with; whole ones may be indices, so they are 0."""
    rng = np.random.default_rng(0)
    for detail in inputs:
        shape, dtype = detail["shape"], np.dtype(detail["dtype"])
        if dtype.kind == "f":
            values = rng.random(shape, "float32").astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            values = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype)
        else:
            values = np.zeros(shape, dtype)
        interpreter.set_tensor(detail["index"], values)


def _die_with(parent, *, of_main_thread):
    """Ends this process when its parent ends, also in the midst of a run.

    The kernel does so by itself, but at the end of the thread that started this process, so that
    is asked for only where it is the main thread; otherwise a look twice a second does.
    """
    if of_main_thread and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)

    def look():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _peak_kib():
    """Returns the most memory this process has held; getrusage would count its parent's too."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit(settings):
    """Keeps a file that asks for more than it needs from taking the machine down with it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = total if settings["delegate"] else min(total, settings["memory"])
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, _MOST_PRINTED)):
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, hard))
    _limit_seconds(settings["seconds"])


def _limit_seconds(seconds):
    """Lets this process use that many more seconds of the processors."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


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
