"""The FCN decoder: score the coarsest map, upsample, add the scores of finer maps."""

from keras import KerasTensor, initializers, layers

from kseg.backbones import Endpoints
from kseg.layers import BilinearKernel, Resize

UPSAMPLINGS = ("transposed", "bilinear", "all_transposed")


def fcn_decoder(
    endpoints: Endpoints, num_classes: int, finest_stride: int, upsampling: str = "transposed"
) -> KerasTensor:
    """Turns endpoints into logits on the grid of the backbone's padded input.

    Args:
        endpoints: Feature maps at strides 2, 4, 8, 16 and 32.
        num_classes: How many classes there are, which is how many channels the logits have.
        finest_stride: Stride of the finest map that is scored: 32 (c5 alone), 16 (c5 and c4)
            or 8 (c5, c4 and c3).
        upsampling: How scores grow to the image's size. "transposed" learns the x2 steps and makes
            the last one bilinear interpolation, as the paper does; "bilinear" learns no step;
            "all_transposed" learns all of them.

    Returns:
        Logits (N, H, W, num_classes), with the height and width of the padded input.
    """
    x, stride = _score(endpoints.c5, num_classes, "score_c5"), 32
    for level, skip in (("c4", endpoints.c4), ("c3", endpoints.c3)):
        if stride > finest_stride:
            x = _upsample(x, 2, upsampling != "bilinear", f"upsample_{level}")
            score = _score(skip, num_classes, f"score_{level}")
            x, stride = layers.Add(name=f"fuse_{level}")([x, score]), stride // 2
    return _upsample(x, stride, upsampling == "all_transposed", "upsample_image")


def _score(x, num_classes, name):
    # The paper starts from zeros. Numbers this small also start with all classes about equally
    # likely, and pass a gradient to the backbone at the first step.
    start = initializers.RandomNormal(stddev=0.01)
    return layers.Conv2D(num_classes, 1, kernel_initializer=start, name=name)(x)


def _upsample(x, factor, learnt, name):
    if not learnt:
        return Resize(factor, name=name)(x)
    # 2 * factor is the smallest kernel that can interpolate bilinearly.
    return layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        factor,
        "same",
        use_bias=False,
        kernel_initializer=BilinearKernel(),
        name=name,
    )(x)
