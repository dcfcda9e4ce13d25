"""The Kotlin of docs/android.md, compiled and held against `kseg.instances`."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kseg.instances import group
from kseg.strips import resize_logits

HEIGHT, WIDTH, CLASSES = 30, 40, 3
SCALES = {"semantic": (0.25, 128), "center": (1 / 200, 20), "offset": (0.125, 120)}

_MAIN = """
import java.io.File
import java.nio.ByteBuffer
import kotlin.math.exp

const val H = {height}
const val W = {width}

fun main(args: Array<String>) {{
    fun plane(name: String, scale: Float, zeroPoint: Int) =
        Plane(ByteBuffer.wrap(File(args[0], name).readBytes()), scale, zeroPoint)
    val labels = ByteArray(H * W)
    val ids = ShortArray(H * W)
    val found = group({planes}, {classes}, setOf(2, 1), labels, ids)
    println(labels.joinToString(" "))
    println(ids.joinToString(" "))
    println(found.joinToString(" ") {{ "${{it.classId}}" }})
    println(found.joinToString(" ") {{ "${{it.score}}" }})
}}
"""


def _bytes():
    """Returns outputs as a file gives them; heatmaps of bytes have flat tops and ties."""
    rng = np.random.default_rng(3)
    size = (HEIGHT, WIDTH)
    maps = {
        "semantic": 3 * resize_logits(rng.normal(size=(5, 6, CLASSES)).astype("float32"), size),
        "center": np.rint(9 * resize_logits(rng.uniform(0, 1, (7, 8, 1)).astype("float32"), size))
        / 9,
        "offset": rng.normal(0, 3, (*size, 2)),
    }
    return {
        name: np.clip(np.rint(values / SCALES[name][0]) + SCALES[name][1], 0, 255).astype("uint8")
        for name, values in maps.items()
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kotlinc") is None, reason="kotlinc is not installed")
def test_the_kotlin_of_the_docs_groups_as_python_does(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "android.md"
    blocks = re.findall(r"```kotlin\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (b for b in blocks if "fun group(" in b)
    planes = ", ".join(
        f'plane("{name}", {scale}f, {zero_point})' for name, (scale, zero_point) in SCALES.items()
    )
    main = _MAIN.format(height=HEIGHT, width=WIDTH, planes=planes, classes=CLASSES)
    (tmp_path / "Main.kt").write_text(main + block)
    command = ["kotlinc", tmp_path / "Main.kt", "-include-runtime", "-d", tmp_path / "main.jar"]
    subprocess.run(command, check=True, capture_output=True)
    stored = _bytes()
    for name, values in stored.items():
        (tmp_path / name).write_bytes(values.tobytes())
    done = subprocess.run(
        ["java", "-jar", tmp_path / "main.jar", tmp_path],
        check=True,
        capture_output=True,
        text=True,
    )
    labels, ids, class_ids, scores = (
        np.array(line.split(), "float64") for line in done.stdout.splitlines()
    )
    real = (
        (values.astype("float32") - SCALES[name][1]) * np.float32(SCALES[name][0])
        for name, values in stored.items()
    )
    expected = group(*real, things=(1, 2))
    assert len(expected.scores) > 5 and set(expected.class_ids.tolist()) == {1, 2}
    np.testing.assert_array_equal(ids.reshape(HEIGHT, WIDTH), expected.ids)
    np.testing.assert_array_equal(labels.reshape(HEIGHT, WIDTH), expected.label_map)
    np.testing.assert_array_equal(class_ids, expected.class_ids)
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-4)
