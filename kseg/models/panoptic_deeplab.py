"""Panoptic-DeepLab: tells objects of one class apart, without boxes.

Cheng et al., CVPR 2020, https://arxiv.org/abs/1911.10194: beside the class of every pixel, the
network gives a heatmap with a peak at the centre of every object, and for every pixel the way to
the centre of its object. Pixels that point to the same peak are one object; `kseg.instances` does
this outside the network. All of it is convolutions, so it runs in int8 on phones and Edge TPUs.

Departures from the paper. Classes and objects share context and pyramid, those of `atrous_fpn`, up
to stride 4; the paper has two of each. A second context and pyramid would cost 17 % more MACs than
`atrous_fpn` has and 0.2 M more weights, which made the network larger than 4 M; the branch for
objects alone costs 8 % and 0.01 M. Each branch has its own layer of smoothing, so one may keep what
the other drops. The context has no image-pooling branch, which the Edge TPU compiler does not take.
The pyramid adds where the paper concatenates, and is narrower. Centres and offsets share the first
layer of their branch.
"""

import keras

from kseg.backbones import BACKBONES
from kseg.decoders import panoptic_decoder
from kseg.models.frame import check_filters, finish, start


def build_panoptic_deeplab(
    num_classes: int = 21,
    *,
    backbone: str = "efficientnet_lite0",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    output_stride: int = 32,
    filters: int = 128,
) -> keras.Model:
    """Builds Panoptic-DeepLab.

    Args:
        num_classes: Channels of the semantic logits: the classes and the background, but not the
            ignored class. Which of them are things is no matter of the network: the data say so.
        backbone: The network that turns the image into features: a name of
            `kseg.backbones.BACKBONES`.
        input_shape: (height, width, channels) of the images; None for sizes known only at run
            time. Every size works. Channels are 3 for RGB, 1 for gray, or any other number.
        weights: "imagenet" for a backbone trained on ImageNet, the name of the data set of a
            trained network (RGB only), or None for random numbers.
        output_stride: Stride of the backbone's last stage, 16 or 32. 16 sees finer, at more MACs;
            a backbone that ends at stride 16 needs it.
        filters: Channels at stride 16; there are three quarters of them at stride 8 and half at
            stride 4.

    Returns:
        A functional model from images (N, H, W, channels), 0..255, RGB where there are three
        channels, to a dict of three outputs, float32, at the size of the image:

        - "semantic" (N, H, W, num_classes): logits of the classes.
        - "center" (N, H, W, 1): the heatmap of centres, about 0..1. It is trained towards 1 at
          the centre of mass of each object and a Gaussian around it, with a sigma of 8 pixels,
          fewer for small objects (`kseg.data.targets`).
        - "offset" (N, H, W, 2): (down, right) in pixels of the network's input, from each pixel
          to the centre of mass of its object.

    Raises:
        TypeError: If num_classes is not a whole number.
        ValueError: If an argument is not one of the choices named above, or filters is not a whole
            number from 4 on.
        ImportError: If the weights are in a package that is not installed.
        OSError: If the weights must be fetched from Keras's server and cannot be.
    """
    image = start(num_classes, input_shape, backbone)
    check_filters(filters)
    if output_stride not in (16, 32):
        raise ValueError(f"output_stride must be 16 or 32; got {output_stride!r}.")
    endpoints = BACKBONES[backbone](image, output_stride=output_stride)
    outputs = panoptic_decoder(endpoints, num_classes, output_stride, filters)
    arguments = {
        "num_classes": num_classes,
        "backbone": backbone,
        "output_stride": output_stride,
        "filters": filters,
    }
    return finish("panoptic_deeplab", image, endpoints._asdict(), outputs, arguments, weights)
