"""The table of networks that the contract is tested on, and a short training of each."""

import keras
import numpy as np
import pytest

from kseg.data import load_data
from kseg.losses import CrossEntropyDice, balanced_class_weights
from kseg.models import MODELS, build

# Every network of MODELS has a row by itself, made small by `small_arguments`. These are rows for
# what else an architecture can be, so that every choice is there at least once.
VARIANTS = {
    "fcn16s-all_transposed": ("fcn16s", {"upsampling": "all_transposed"}),
    "fcn8s-bilinear": ("fcn8s", {"upsampling": "bilinear"}),
    "unet-backbone": ("unet", {"backbone": "separable"}),
    "deeplab_v3-8": ("deeplab_v3", {"output_stride": 8}),
    "atrous_fpn-16": ("atrous_fpn", {"output_stride": 16}),
    "atrous_fpn-nearest": ("atrous_fpn", {"upsampling": "nearest"}),
    "menu-max_unpooling": (
        "encoder_decoder",
        {"widths": (8, 8, 16), "downsampling": "max", "upsampling": "max_unpooling"},
    ),
    "menu-bed_of_nails": (
        "encoder_decoder",
        {"widths": (8, 16), "downsampling": "average", "upsampling": "bed_of_nails"},
    ),
    "menu-transposed": (
        "encoder_decoder",
        {"widths": (8, 8, 16), "downsampling": "strided", "upsampling": "transposed"},
    ),
    "menu-nearest": (
        "encoder_decoder",
        {
            "widths": (8, 8, 16),
            "convolution": "depthwise_separable",
            "upsampling": "nearest",
            "skip": "none",
        },
    ),
    "menu-bilinear": (
        "encoder_decoder",
        {"widths": (8, 16), "convolution": "standard", "upsampling": "bilinear", "skip": "add"},
    ),
    "menu-dilated": ("encoder_decoder", {"widths": (8, 8, 16), "downsampling": "dilated"}),
}
NAMES = (*MODELS, *VARIANTS)
TELLS_OBJECTS_APART = {"panoptic_deeplab"}  # trained on objects, in tests/instances
STEPS = 100
# Keras takes the sides that differ in the first two batches as known only at run time.
CROPS = [(64, 64), (47, 33), (64, 64)]


# Much like another network: these are trained and converted in the slow tier only. The others,
# and every network that is added to MODELS, are trained and converted in the fast one.
SLOW = {"fcn32s", "fcn16s", "deeplab_v3", "encoder_decoder", *VARIANTS} - {"menu-max_unpooling"}


def pytest_generate_tests(metafunc):
    """Gives a test every network."""
    if "network" in metafunc.fixturenames:
        trained = "trained" in metafunc.fixturenames
        slow, others = (SLOW, TELLS_OBJECTS_APART) if trained else ((), ())
        names = [name for name in NAMES if name not in others]
        cases = [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in names]
        metafunc.parametrize("network", cases, scope="module")


@pytest.fixture(scope="session")
def networks(small_arguments):
    """The table: name to (builder, arguments), the arguments such that the network is small."""
    rows = {name: (name, {}) for name in MODELS} | VARIANTS
    return {k: (name, {**small_arguments(name), **own}) for k, (name, own) in rows.items()}


@pytest.fixture(scope="session")
def make(networks):
    """A function that builds a network of the table: (name, num_classes, size, **arguments)."""

    def make(network, num_classes=3, size=(None, None), channels=3, **arguments):
        builder, own = networks[network]
        shape = (*size, channels)
        model = build(
            builder, {"num_classes": num_classes, "input_shape": shape, **own, **arguments}
        )
        model.jit_compile = False  # XLA compiles for seconds what TensorFlow runs in milliseconds
        return model

    return make


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory, write_rectangles):
    """Images (24, 64, 64, 3), 0..255, and their label maps, of three classes."""
    yaml = write_rectangles(tmp_path_factory.mktemp("models") / "data", ((64, 64),) * 24)
    data = load_data(yaml)
    pairs = [data.read(pair) for split in ("train", "val") for pair in data.files(split)]
    images, labels = zip(*pairs, strict=True)
    return np.stack([np.asarray(image) for image in images]), np.stack(labels)


class _Crops(keras.utils.PyDataset):
    """Batches of eight, of mixed sizes."""

    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels = np.float32(images), labels

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        chosen = rng.choice(len(self.images), 8, replace=False)
        height, width = CROPS[index % len(CROPS)]
        top, left = rng.integers((65 - height, 65 - width))
        crop = np.s_[chosen, top : top + height, left : left + width]
        return self.images[crop], self.labels[crop]


@pytest.fixture(scope="module")
def alive(network, make, enliven):
    """A network of the table that takes any size, with lively weights."""
    return enliven(make(network), (64, 64))


@pytest.fixture(scope="session")
def train(rectangles, make):
    """A function that builds a network of the table and trains it on crops of mixed sizes."""

    def train(network):
        keras.utils.set_random_seed(0)
        model = make(network)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.8
        # A plain optimizer: tracing Adam takes longer than training does.
        rate = keras.optimizers.schedules.CosineDecay(0.1, STEPS)
        pixels = np.bincount(rectangles[1].ravel(), minlength=3)
        loss = CrossEntropyDice(balanced_class_weights(pixels), 0.5)
        model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss, jit_compile=False)
        model.fit(_Crops(*rectangles), shuffle=False, verbose=0)
        return model

    return train


@pytest.fixture(scope="module")
def trained(network, train):
    """A network of the table, trained."""
    return train(network)
