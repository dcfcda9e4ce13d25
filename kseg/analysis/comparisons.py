"""Standard, depthwise and separable convolutions, and dilation, as numbers and figures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure


class ConvolutionCost(NamedTuple):
    """Weights and multiply-adds of a convolution, without biases."""

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
        kernel_size: K, the height and width of the kernel.
        channels: C, the channels that come in.
        filters: M, the channels that go out.
        size: (H, W), the height and width of the output.

    Returns:
        The costs of each kind, under "standard", "depthwise" and "separable".
    """
    area, positions = kernel_size**2, size[0] * size[1]
    params = {
        "standard": area * channels * filters,
        "depthwise": area * channels,
        "separable": area * channels + channels * filters,
    }
    return {kind: ConvolutionCost(count, count * positions) for kind, count in params.items()}


def stacked_receptive_field(kernel_size: int, dilation_rates: Sequence[int]) -> list[int]:
    """Returns the receptive field after each convolution of a stack with strides of 1.

    Every layer adds (K - 1) * rate pixels, and its params do not depend on the rate. With 3 x 3
    kernels, rates of 1, 1, 1, 1 give 9 pixels, and rates of 1, 2, 4, 8 give 31.

    Source: Yu and Koltun, ICLR 2016, https://arxiv.org/abs/1511.07122.

    Args:
        kernel_size: K, the height and width of every kernel.
        dilation_rates: Dilation rate of each layer, first to last.

    Returns:
        For each layer, the height and width of its receptive field in pixels.
    """
    return [1 + (kernel_size - 1) * int(total) for total in np.cumsum(dilation_rates)]


def draw_convolution_costs(
    kernel_size: int = 3, channels: int = 128, filters: int = 128, size: tuple[int, int] = (45, 60)
) -> Figure:
    """Draws `convolution_costs` as bars, params on the left and MACs on the right.

    Args:
        kernel_size: Height and width of the kernel.
        channels: Channels that come in.
        filters: Channels that go out.
        size: Height and width of the output.
    """
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
    """Draws which pixels a stack of convolutions sees, one plot for each schedule of rates.

    All stacks have the same params. The darker a pixel, the more ways lead from it to the result.
    Rates that are all the same, but not 1, leave a grid of pixels unseen; growing rates see all.

    Args:
        kernel_size: Height and width of every kernel.
        schedules: Stacks, each as the dilation rates of its layers, first to last.
    """
    figure = Figure(figsize=(3 * len(schedules), 3.7), layout="constrained")
    side = max(stacked_receptive_field(kernel_size, rates)[-1] for rates in schedules)
    plots = figure.subplots(1, len(schedules), squeeze=False)[0]
    for axes, rates in zip(plots, schedules, strict=True):
        ways = np.ones(1)
        for rate in rates:
            taps = np.zeros((kernel_size - 1) * rate + 1)
            taps[::rate] = 1
            ways = np.convolve(ways, taps)
        margin = (side - len(ways)) // 2
        ways = np.pad(ways, (margin, side - len(ways) - margin))
        seen = np.outer(ways, ways)
        # The fourth root and the step make the faintest pixels differ from those not seen.
        axes.imshow(np.where(seen > 0, 0.3 + (seen / seen.max()) ** 0.25, 0), cmap="Blues", vmin=0)
        count = f"{np.count_nonzero(ways)} of {len(ways) - 2 * margin} pixels"
        axes.set_title(f"rates {', '.join(map(str, rates))}:\n{count}")
        axes.set(xticks=[], yticks=[])
    return figure
