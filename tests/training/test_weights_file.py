"""weights.h5 is read from the file itself alone, and only what is expected of it."""

import tracemalloc

import h5py
import numpy as np
import pytest

from kseg.training.run_schema import DamagedFileError
from kseg.training.weights_file import read_weights, to_bytes

SHAPES = {"average": [(2, 3), (4,)]}
GOOD = {"average": [np.arange(6, dtype="float32").reshape(2, 3), np.ones(4, "float32")]}


@pytest.fixture
def crafted(tmp_path):
    """Writes a good weights file, changes it by a function of the open file, and returns it."""

    def write(change, good=GOOD):
        path = tmp_path / "weights.h5"
        path.write_bytes(to_bytes(good))
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return write


def refused(path, match, shapes=SHAPES):
    with pytest.raises(DamagedFileError, match=match) as caught:
        read_weights(path, shapes)
    assert "\n" not in str(caught.value)


def test_weights_come_back(crafted):
    arrays = read_weights(crafted(lambda file: None), SHAPES)
    np.testing.assert_array_equal(arrays["average"][0], GOOD["average"][0])
    assert arrays["average"][1].dtype == "float32"


def test_chunked_datasets_are_plain_too(crafted):
    def change(file):
        del file["average/00000"]
        file.create_dataset("average/00000", data=GOOD["average"][0], chunks=(1, 3))

    arrays = read_weights(crafted(change), SHAPES)
    np.testing.assert_array_equal(arrays["average"][0], GOOD["average"][0])


def test_external_storage_is_not_read(crafted, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(np.full(6, 7, "float32").tobytes())

    def change(file):
        del file["average/00000"]
        file.create_dataset("average/00000", (2, 3), "float32", external=[(str(secret), 0, 24)])

    path = crafted(change)
    with h5py.File(path) as file:  # HDF5 itself would have followed it
        assert (file["average/00000"][()] == 7).all()
    for shapes in (SHAPES, None):
        refused(path, "'average/00000' lies in another file; weights must be in this", shapes)


def test_virtual_datasets_are_not_read(crafted, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.full((2, 3), 7, "float32")

    def change(file):
        del file["average/00000"]
        layout = h5py.VirtualLayout((2, 3), "float32")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "values", (2, 3))
        file.create_virtual_dataset("average/00000", layout)

    refused(crafted(change), "is a virtual dataset")


@pytest.mark.parametrize("name", ["average", "average/00000"])
@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("other.h5", "/values"), h5py.SoftLink("/elsewhere")]
)
def test_links_are_not_followed(crafted, tmp_path, name, link):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.full((2, 3), 7, "float32")

    def change(file):
        file["elsewhere"] = np.full((2, 3), 7, "float32")
        del file[name]
        file[name] = link

    refused(crafted(change), "holds a link at '(average|00000)', where weights are expected")


def test_link_loops_are_no_trap(crafted):
    def change(file):
        file["loop"] = file["/"]  # a hard link from the root to itself
        file["average/round"] = h5py.SoftLink("/average")

    refused(crafted(change), "weights of another network \\(3 variables")
    refused(crafted(lambda file: file.__setitem__("loop", file["/"])), "lacks '00000'", None)


@pytest.mark.parametrize(
    ("shape", "values"),
    [((2**28,), None), ((2, 3, 1), 0), ((3, 2), 0), ((0,), 0), ((), 0)],
)
def test_other_shapes_are_refused_before_memory_is_taken(crafted, shape, values):
    def change(file):
        del file["average/00000"]
        file.create_dataset("average/00000", shape, "float32", fillvalue=values)

    path = crafted(change)
    tracemalloc.start()
    refused(path, r"weights of another network \(2 variables|claims [\d,]+ bytes and has 0")
    if shape == (2**28,):
        refused(path, "claims 1,073,741,824 bytes and has 0", None)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_claimed_gigabyte_of_the_right_shape_is_refused(crafted):
    def change(file):
        del file["average/00000"]
        file.create_dataset("average/00000", (2**28,), "float32")  # never written: no bytes

    shapes = {"average": [(2**28,), (4,)]}
    refused(crafted(change), "claims 1,073,741,824 bytes and has 0", shapes)


def test_one_dataset_under_many_names_does_not_multiply(crafted):
    big = {"average": [np.zeros(50_000, "float32")]}

    def change(file):
        for index in range(1, 40):
            file[f"average/{index:05d}"] = file["average/00000"]

    refused(crafted(change, big), "claims 8,000,000 bytes of weights, more than it has", None)


def test_an_unknown_group_is_passed_over(crafted):
    def change(file):
        file["other/00000"] = h5py.ExternalLink("/etc/passwd", "/")
        file.create_dataset("huge", (2**40,), "float64")

    assert read_weights(crafted(change), SHAPES).keys() == {"average"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(crafted, value):
    def change(file):
        file["average/00001"][2] = value

    refused(crafted(change), "'average/00001' holds numbers that are not finite")


@pytest.mark.parametrize(
    "values",
    [
        np.array(["a", "b", "c", "d"], "S4"),
        np.ones(4, "complex64"),
        np.ones(4, [("re", "float32")]),
        np.ones(4, bool),
    ],
)
def test_what_is_no_number_is_refused(crafted, values):
    def change(file):
        del file["average/00001"]
        file["average/00001"] = values

    refused(crafted(change), "does not hold real numbers")


def test_references_and_text_of_any_length_are_refused(crafted):
    def change(file):
        del file["average/00001"]
        file.create_dataset("average/00001", (4,), h5py.string_dtype())

    refused(crafted(change), "does not hold real numbers|claims")


def test_filters_are_refused(crafted):
    def change(file):
        del file["average/00001"]
        file.create_dataset("average/00001", data=np.ones(4, "float32"), compression="gzip")

    refused(crafted(change), "is stored through a filter")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"no HDF5", b"\0" * 4096])
def test_what_is_no_weights_file_is_refused(tmp_path, content):
    (tmp_path / "weights.h5").write_bytes(content)
    refused(tmp_path / "weights.h5", r"is not a weights file of kseg: ")


def test_missing_groups_and_other_kinds_are_refused(crafted, tmp_path):
    refused(crafted(lambda file: file.__delitem__("average")), "lacks 'average'")

    def dataset(file):
        del file["average"]
        file["average"] = np.ones(3)

    refused(crafted(dataset), "has no group 'average'")

    def group(file):
        del file["average/00000"]
        file.create_group("average/00000")

    refused(crafted(group), "has no array 'average/00000'")
    refused(tmp_path, "is not a regular file")


def test_a_file_larger_than_its_network_is_refused(tmp_path):
    with open(tmp_path / "weights.h5", "wb") as file:
        file.truncate(10**12)
    refused(tmp_path / "weights.h5", "has 1,000,000,000,000 bytes; weights of this network have")


def test_damage_to_any_part_of_the_structure_is_refused_or_harmless(tmp_path):
    content = bytes(to_bytes({"average": [np.ones((2, 3), "float32")]}))
    rng = np.random.default_rng(0)
    outcomes = set()
    path = tmp_path / "weights.h5"
    for place in range(0, len(content), 3):
        mutant = bytearray(content)
        mutant[place] ^= int(rng.integers(1, 256))
        path.write_bytes(mutant)
        try:
            arrays = read_weights(path, {"average": [(2, 3)]})
            assert arrays["average"][0].shape == (2, 3)
            outcomes.add("read")
        except DamagedFileError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
