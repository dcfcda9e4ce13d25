"""What a network costs: params, MACs, receptive fields, bytes of weights and activations."""

from kseg.analysis.comparisons import (
    ConvolutionCost,
    convolution_costs,
    draw_convolution_costs,
    draw_dilated_receptive_fields,
    stacked_receptive_field,
)
from kseg.analysis.costs import count_macs
from kseg.analysis.description import Description, LayerCost, describe
from kseg.analysis.effective import effective_side, influence_map
from kseg.analysis.tables import costs_table, describe_networks, layer_table, summary

__all__ = [
    "ConvolutionCost",
    "Description",
    "LayerCost",
    "convolution_costs",
    "costs_table",
    "count_macs",
    "describe",
    "describe_networks",
    "draw_convolution_costs",
    "draw_dilated_receptive_fields",
    "effective_side",
    "influence_map",
    "layer_table",
    "stacked_receptive_field",
    "summary",
]
