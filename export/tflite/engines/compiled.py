"""LiteRT's CompiledModel, which Google's apps use in place of the interpreter."""


def load(path, inputs, outputs):
    """Returns what runs the file; see `export.tflite.engines`."""
    from ai_edge_litert.compiled_model import CompiledModel

    model = CompiledModel.from_file(path)
    # Signatures may name the tensors in another order than the graph has them.
    (signature, *others) = model.get_signature_list()
    if others:
        raise ValueError("kseg runs files of one signature with it")
    names = model.get_signature_list()[signature]
    takes, gives = model.create_input_buffers(0), model.create_output_buffers(0)
    places = _places(names["outputs"], model.get_output_tensor_details(signature), outputs)

    def run(values):
        for buffer, value in zip(takes, values, strict=True):
            buffer.write(value)
        model.run_by_index(0, takes, gives)
        found = []
        for place, detail in zip(places, outputs, strict=True):
            shape = detail["shape"]
            found.append(gives[place].read(shape.prod(), detail["dtype"]).reshape(shape))
        return found

    return run


def _places(names, details, outputs):
    """Returns where in the signature each output of the graph is."""
    if len(names) == 1:
        return [0]
    tensors = [details[name]["name"] for name in names]
    return [tensors.index(output["name"]) for output in outputs]
