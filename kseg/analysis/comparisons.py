"""Standard, depthwise and separable convolutions, and dilation, as numbers and figures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure


class ConvolutionCost(NamedTuple):
    """What a convolution costs, without biases."""

    params: int
    macs: int


def convolution_costs(
    kernel_size: int, channels: int, filters: int, size: tuple[int, int]
) -> dict[str, ConvolutionCost]:
    """Compares the three kinds of convolution.

    With a K x K kernel, C channels and M filters the params are K*K*C*M (standard), K*K*C
    (depthwise, which filters each channel and mixes none, so M is C) and K*K*C + C*M (separable:
    depthwise, then 1 x 1). The kernel is used at every position: MACs are params * H * W.

    Source: Howard et al., MobileNets, 2017, https://arxiv.org/abs/1704.04861, section 3.1.

    Args:
        kernel_size: K.
        channels: C.
        filters: M.
        size: (H, W) of the output.

    Returns:
        "standard", "depthwise" and "separable" to their costs.
    """
    area, positions = kernel_size**2, size[0] * size[1]
    params = {
        "standard": area * channels * filters,
        "depthwise": area * channels,
        "separable": area * channels + channels * filters,
    }
    return {kind: ConvolutionCost(count, count * positions) for kind, count in params.items()}


def stacked_receptive_field(kernel_size: int, dilation_rates: Sequence[int]) -> list[int]:
    """Returns the receptive field after each of some convolutions with strides of 1.

    Every layer adds (K - 1) * rate pixels, and its params do not depend on the rate: rates of
    1, 1, 1, 1 give 9 pixels with 3 x 3 kernels, rates of 1, 2, 4, 8 give 31.

    Source: Yu and Koltun, ICLR 2016, https://arxiv.org/abs/1511.07122.

    Args:
        kernel_size: K.
        dilation_rates: Of the layers, first to last.

    Returns:
        Pixels in height and width, as long as dilation_rates.
    """
    return [1 + (kernel_size - 1) * int(total) for total in np.cumsum(dilation_rates)]


def draw_convolution_costs(
    kernel_size: int = 3, channels: int = 128, filters: int = 128, size: tuple[int, int] = (45, 60)
) -> Figure:
    """Draws `convolution_costs` as bars, params on the left and MACs on the right."""
    costs = convolution_costs(kernel_size, channels, filters, size)
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, field, unit, factor in zip(
        figure.subplots(1, 2),
        ConvolutionCost._fields,
        ("thousand params", "million MACs"),
        (1e-3, 1e-6),
        strict=True,
    ):
        bars = axes.bar(list(costs), [getattr(cost, field) * factor for cost in costs.values()])
        axes.bar_label(bars, fmt="%.3g")
        axes.set(yscale="log", ylabel=unit)
        axes.margins(y=0.15)  # for the numbers over the bars
    figure.suptitle(
        f"{kernel_size} x {kernel_size}, {channels} channels, {filters} filters, "
        f"{size[0]} x {size[1]} positions"
    )
    return figure


def draw_dilated_receptive_fields(
    kernel_size: int = 3,
    schedules: Sequence[Sequence[int]] = ((1, 1, 1, 1), (2, 2, 2, 2), (1, 2, 4, 8)),
) -> Figure:
    """Draws which pixels some stacked convolutions see, one picture for each schedule of rates.

    All have the same params. The darker a pixel, the more ways lead from it to the result: rates
    that are all the same leave a grid of pixels unseen, growing ones see everything.

    Args:
        kernel_size: K of every layer.
        schedules: Dilation rates of the layers, first to last.
    """
    figure = Figure(figsize=(3 * len(schedules), 3.7), layout="constrained")
    side = max(stacked_receptive_field(kernel_size, rates)[-1] for rates in schedules)
    pictures = figure.subplots(1, len(schedules), squeeze=False)[0]
    for axes, rates in zip(pictures, schedules, strict=True):
        ways = np.ones(1)
        for rate in rates:
            taps = np.zeros((kernel_size - 1) * rate + 1)
            taps[::rate] = 1
            ways = np.convolve(ways, taps)
        margin = (side - len(ways)) // 2
        ways = np.pad(ways, (margin, side - len(ways) - margin))
        seen = np.outer(ways, ways)
        # The fourth root and the step, so that the faintest differ from what is not seen.
        axes.imshow(np.where(seen > 0, 0.3 + (seen / seen.max()) ** 0.25, 0), cmap="Blues", vmin=0)
        count = f"{np.count_nonzero(ways)} of {len(ways) - 2 * margin} pixels"
        axes.set_title(f"rates {', '.join(map(str, rates))}:\n{count}")
        axes.set(xticks=[], yticks=[])
    return figure
