"""The table of networks that the contract is tested on, and a short training of each."""

import keras
import numpy as np
import pytest

from kseg.data import load_data
from kseg.losses import CrossEntropyDice, balanced_class_weights
from kseg.models import build

# Every builder with small arguments, and every choice of a menu at least once.
NETWORKS = {
    "fcn32s": ("fcn32s", {"backbone": "separable"}),
    "fcn16s": ("fcn16s", {"backbone": "separable", "upsampling": "all_transposed"}),
    "fcn8s": ("fcn8s", {"backbone": "separable", "upsampling": "transposed"}),
    "fcn8s-bilinear": ("fcn8s", {"backbone": "separable", "upsampling": "bilinear"}),
    "dilated_fcn": ("dilated_fcn", {"backbone": "separable"}),
    "segnet": ("segnet", {"widths": (8, 8, 16, 16, 16)}),
    "unet": ("unet", {"widths": (4, 8, 8, 16, 16)}),
    "unet-backbone": ("unet", {"backbone": "separable", "widths": (8, 8, 16, 16, 16)}),
    "linknet": ("linknet", {"backbone": "separable"}),
    "deeplab_v3": ("deeplab_v3", {"backbone": "separable", "output_stride": 8, "filters": 16}),
    "deeplab_v3_plus": ("deeplab_v3_plus", {"backbone": "separable", "filters": 16}),
    "lraspp": ("lraspp", {"backbone": "separable"}),
    "fast_scnn": ("fast_scnn", {}),
    "atrous_fpn": ("atrous_fpn", {"backbone": "separable"}),
    "atrous_fpn-16": ("atrous_fpn", {"backbone": "separable", "output_stride": 16}),
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
STEPS = 100
# Keras takes the sides that differ in the first two batches as known only at run time.
CROPS = [(64, 64), (47, 33), (64, 64)]


# One of each kind is trained and converted in the fast tier, the others in the slow one.
QUICK = (
    "fcn8s",
    "dilated_fcn",
    "segnet",
    "unet",
    "linknet",
    "deeplab_v3_plus",
    "lraspp",
    "fast_scnn",
    "atrous_fpn",
    "menu-max_unpooling",
)


def pytest_generate_tests(metafunc):
    """Gives a test every network."""
    if "network" in metafunc.fixturenames:
        slow = set(NETWORKS) - set(QUICK) if "trained" in metafunc.fixturenames else ()
        cases = [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in NETWORKS]
        metafunc.parametrize("network", cases, scope="module")


def _make(network, num_classes=3, size=(None, None), **arguments):
    builder, own = NETWORKS[network]
    model = build(
        builder,
        {
            "num_classes": num_classes,
            "input_shape": (*size, 3),
            "weights": None,
            **own,
            **arguments,
        },
    )
    model.jit_compile = False  # XLA compiles for seconds what TensorFlow runs in milliseconds
    return model


@pytest.fixture(scope="session")
def networks():
    """The table: name to (builder, arguments)."""
    return NETWORKS


@pytest.fixture(scope="session")
def make():
    """A function that builds a network of the table: (name, num_classes, size, **arguments)."""
    return _make


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
def alive(network, enliven):
    """A network of the table that takes any size, with lively weights."""
    return enliven(_make(network), (64, 64))


@pytest.fixture(scope="session")
def train(rectangles):
    """A function that builds a network of the table and trains it on crops of mixed sizes."""

    def train(network):
        keras.utils.set_random_seed(0)
        model = _make(network)
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
