"""run.json and manifest.json: what was changed is noticed, and nothing in them is a trap."""

import json
import os
import random
import shutil
import time
import warnings

import keras
import numpy as np
import pytest

import kseg
from kseg.cli import main
from kseg.training import load
from kseg.training.checkpoints import read_checkpoint, write_checkpoint
from kseg.training.run import Run, open_run
from kseg.training.run_schema import DamagedFileError, read_manifest, read_run_record

RECORD = {
    "format": 1,
    "spec": {"builder": "fcn32s", "arguments": {"num_classes": 3, "backbone": "separable"}},
    "classes": {"names": ["ground", "red", "blue"], "colors": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]},
    "size": [64, 96],
    "recipe": {"epochs": 3, "size": [64, 96], "logit_adjustment": 0.5},
    "pace": {"steps": 7, "parts": 3, "validate_every": 2, "final": 1.5},
    "asked": {"epochs": 3, "minutes": None, "logit_adjustment": 0.5},
    "data": {"source": "data.yaml", "fingerprint": "ab" * 32},
    "backend": "tensorflow",
    "versions": {"kseg": "0.2.0"},
    "teacher": None,
    "loss": None,
    "digests": {},
    "bits": None,
    "things": [1],
    "saw_val": False,
}
ROW = {"epoch": 1, "step": 4, "loss": 0.75, "mean_iou": 0.5, "pixel_accuracy": 0.75, "seconds": 1.0}


@pytest.fixture(scope="module")
def weights():
    keras.utils.set_random_seed(0)
    model = kseg.build_fcn32s(3, backbone="separable", weights=None)
    return [np.asarray(variable).copy() for variable in model.variables]


@pytest.fixture
def run(tmp_path, weights):
    """A run folder of one checkpoint."""
    Run.write(tmp_path, RECORD)
    facts = {"epoch": 1, "mean_iou": 0.5, "average_steps": 4, "history": [ROW]}
    write_checkpoint(tmp_path, 4, {"average": weights}, facts)
    return tmp_path


def manifest_of(run):
    return run / "checkpoints/00000004/manifest.json"


def test_what_was_written_is_read(run):
    assert open_run(run).record == RECORD
    manifest = read_manifest(manifest_of(run))
    assert manifest["step"] == 4 and manifest["history"] == [ROW]
    assert load(run).kseg_size == (64, 96)


def flips(content, count):
    """Returns `count` copies of a text with one flipped bit each."""
    rng = random.Random(0)
    places = rng.sample(range(8 * len(content)), count)
    for place in places:
        mutant = bytearray(content)
        mutant[place // 8] ^= 1 << place % 8
        yield bytes(mutant)


def test_every_flipped_bit_is_noticed(run):
    for path, read in (
        (run / "run.json", lambda: read_run_record(run)),
        (manifest_of(run), lambda: read_manifest(manifest_of(run))),
    ):
        content = path.read_bytes()
        for mutant in flips(content, 200):
            path.write_bytes(mutant)
            with pytest.raises(ValueError) as caught:
                read()
            assert "\n" not in str(caught.value).replace("\\n", "")
        path.write_bytes(content)
        read()


def test_records_from_before_checksums_are_read(run):
    record = dict(RECORD, label_map=RECORD["classes"])
    for key in ("classes", "loss", "pace", "teacher", "things"):
        del record[key]
    (run / "run.json").write_text(json.dumps(record))
    manifest = json.loads(manifest_of(run).read_text())
    manifest["format"] = 1
    for key in ("checksum",):
        del manifest[key]
    manifest_of(run).write_text(json.dumps(manifest))
    assert open_run(run).record == {**RECORD, "pace": None, "things": []}
    assert load(run).kseg_size == (64, 96)


def test_records_from_before_an_option_say_what_was_done(run):
    recipe = {"epochs": 3}
    record = Run.write(run, {**RECORD, "recipe": recipe, "asked": recipe}).path
    found = open_run(record).record
    assert found["recipe"] == found["asked"] == {"epochs": 3, "logit_adjustment": 0.0}
    Run.write(run, {**RECORD, "recipe": None})  # it never came to training
    assert open_run(run).record["recipe"] == {}


def test_a_checksum_cannot_be_left_out_of_a_manifest(run):
    manifest = json.loads(manifest_of(run).read_text())
    del manifest["checksum"]
    manifest_of(run).write_text(json.dumps(manifest))
    with pytest.raises(DamagedFileError, match="its checksum is gone"):
        read_manifest(manifest_of(run))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"size": [10**9, 10**9]}, r"size\.0: Input should be less than or equal to 50000000"),
        ({"size": [30_000, 30_000]}, "the size 30000 x 30000 is over 50,000,000 pixels"),
        ({"size": [0, 0]}, r"size\.0: Input should be greater"),
        ({"size": [-1, 5]}, r"size\.0: Input should be greater"),
        ({"size": [1]}, "size: List should have at least 2 items"),
        ({"size": [1.5, 2]}, r"size\.0: "),
        ({"size": "64"}, "size: Input should be a valid list"),
        ({"spec": 7}, "spec: Input should be"),
        ({"spec": {"builder": 1, "arguments": {}}}, r"spec\.builder: "),
        ({"spec": {"builder": "fcn8s"}}, r"spec\.arguments: Field required"),
        ({"spec": {"builder": "x", "arguments": {"filters": 10**9}}}, r"the number 1e\+09"),
        ({"spec": {"builder": "x", "arguments": {"widths": [8] * 65}}}, "spec has a long list"),
        ({"classes": {"names": [1, 2], "colors": []}}, r"names\.0: "),
        ({"classes": None}, "classes: "),
        ({"recipe": [1]}, "recipe: "),
        ({"versions": {"kseg": 1}}, r"versions\.kseg: "),
        ({"strange": 1}, "strange: Extra inputs are not permitted"),
    ],
)
def test_a_record_of_another_form_is_refused(run, change, match):
    (run / "run.json").write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(DamagedFileError, match=f"run.json is not as kseg writes it: .*{match}"):
        open_run(run)


@pytest.mark.parametrize("key", ["spec", "classes", "size"])
def test_a_record_without_a_key_is_refused(run, key):
    (run / "run.json").write_text(json.dumps({k: v for k, v in RECORD.items() if k != key}))
    with pytest.raises(DamagedFileError, match=f"{key}: Field required"):
        open_run(run)


def test_a_network_that_does_not_take_its_arguments_is_refused(run):
    spec = {"builder": "fcn32s", "arguments": {"num_classes": 3, "colour": 7}}
    Run.write(run, {**RECORD, "spec": spec})
    with pytest.raises(ValueError, match=r"run\.json names a network that .*'colour'"):
        load(run)


def pipe(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path)


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(10**11)


HOSTILE = {
    "a pipe": pipe,
    "circle": loop,
    "a folder": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "over the limit": sparse,
    "nested deeper": lambda path: path.write_text("[" * 900_000),
    "NaN is not": lambda path: path.write_text('{"format": NaN}'),
    "too large": lambda path: path.write_text('{"format": 1e999}'),
    "not a text in UTF-8": lambda path: path.write_bytes(b"{\xff}"),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_a_file_that_is_a_trap_is_one_sentence(run, said, capsys):
    for path, read in ((run / "run.json", open_run), (manifest_of(run), read_checkpoint)):
        content = path.read_bytes()
        path.unlink()
        HOSTILE[said](path)
        started = time.monotonic()
        with pytest.raises(ValueError, match=said):
            read(run)
        if path.name == "run.json":
            assert main(["describe", str(run)]) == 2
        assert time.monotonic() - started < 30
        assert "Traceback" not in capsys.readouterr().err
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
        path.write_bytes(content)


def mutated(rng, content):
    """Returns a text changed as an accident or a prankster would."""
    text = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(text))
        piece = rng.choice(
            [b"", b"[", b"{", b"}", b'"', b"null", b"-1", b"1e9", b"1000000000", b"NaN", b"\xff"]
        )
        how = rng.random()
        if how < 0.3:
            text[place] ^= 1 << rng.randrange(8)
        elif how < 0.6:
            text[place : place + rng.randint(0, 8)] = piece
        elif how < 0.8:
            del text[place : place + rng.randint(1, 40)]
        else:
            start = rng.randrange(len(text))
            text[place:place] = text[start : start + rng.randint(1, 60)]
    return bytes(text)


def try_mutants(run, count, stated):
    """Reads a run under mutants of its files; returns how many were read and refused."""
    rng, outcomes = random.Random(count), {"read": 0, "refused": 0}
    paths = (run / "run.json", manifest_of(run))
    contents = {}
    for path in paths:
        record = json.loads(path.read_text())
        if not stated:  # without a checksum the schema alone decides
            record.pop("checksum")
            if path == manifest_of(run):
                record["format"] = 1
        contents[path] = json.dumps(record).encode() if not stated else path.read_bytes()
    for index in range(count):
        path = paths[index % 2]
        path.write_bytes(mutated(rng, contents[path]))
        started = time.monotonic()
        try:
            record = open_run(run).record
            kseg.Classes.from_json(record["classes"])
            read_checkpoint(run)
            outcomes["read"] += 1
        except ValueError as error:
            assert str(error)
            outcomes["refused"] += 1
        assert time.monotonic() - started < 30
        path.write_bytes(contents[path])
    return outcomes


def test_mutants_are_read_or_refused(run):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert try_mutants(run, 50, stated=True)["read"] == 0
        assert try_mutants(run, 50, stated=False)["refused"] > 25


@pytest.mark.slow
def test_500_mutants_are_read_or_refused(run):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert try_mutants(run, 500, stated=True)["read"] <= 5  # a copy of nothing changes nothing
        assert sum(try_mutants(run, 500, stated=False).values()) == 500


def test_every_checkpoint_damaged_is_no_start_from_zero(run):
    manifest_of(run).write_text("{")
    with pytest.raises(DamagedFileError, match=r"no whole checkpoint: all 1 are damaged\. .*JSON"):
        read_checkpoint(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ValueError, match="nothing was trained"):
        read_checkpoint(run)
