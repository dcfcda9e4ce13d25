"""IREE, which runs what its compiler made of a file's TOSA: X.vmfb beside X.tflite."""

from pathlib import Path


def load(path, inputs, outputs):
    """Returns what runs the file; see `export.tflite.engines`."""
    import iree.runtime

    compiled = Path(path).with_suffix(".vmfb")
    module = iree.runtime.load_vm_flatbuffer_file(str(compiled), driver="local-sync")

    def run(values):
        results = module["main"](*values)
        results = results if isinstance(results, tuple) else (results,)
        # TOSA's integers have no sign, so that uint8 comes back as int8. IREE takes the memory back
        # with the result, hence the copy.
        return [
            result.to_host().copy().view(detail["dtype"])
            for result, detail in zip(results, outputs, strict=True)
        ]

    return run
