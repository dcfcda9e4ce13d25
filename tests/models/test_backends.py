"""Networks give equal logits on TensorFlow and JAX; one process for all, since JAX compiles."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

CODE = """
import json
import sys
from pathlib import Path

import keras
import numpy as np
from kseg.models import build

assert keras.backend.backend() == "jax"
folder = Path(sys.argv[1])
image = np.load(folder / "image.npy")
for name, (builder, arguments) in json.loads((folder / "networks.json").read_text()).items():
    model = build(builder, {**arguments, "num_classes": 3})
    with np.load(folder / f"{name}.npz") as arrays:
        model.set_weights([arrays[key] for key in arrays.files])
    outputs = model.predict_on_batch(image)
    outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
    np.savez(folder / f"{name}.found.npz", **outputs)
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow  # a minute or two of compilation
def test_jax_and_tensorflow_agree(networks, make, enliven, tmp_path):
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 47, 3)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "networks.json").write_text(json.dumps(networks))
    expected = {}
    for name in networks:
        model = enliven(make(name), (64, 64))
        np.savez(tmp_path / f"{name}.npz", *model.get_weights())
        outputs = model(image)
        expected[name] = outputs if isinstance(outputs, dict) else {"logits": outputs}
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        capture_output=True, text=True, timeout=1500, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, outputs in expected.items():
        with np.load(tmp_path / f"{name}.found.npz") as found:
            assert set(found) == set(outputs)
            for part, output in outputs.items():
                assert np.ptp(output) > 0.1
                np.testing.assert_allclose(found[part], output, atol=1e-3, err_msg=name)
