"""What a network makes of the plane, and where its gradient lives: probes that read a network and never train it.

Source: van den Berg, "Some Insights into the Geometry and Training of Neural Networks", 2014 (Geometry).
"""

from jumpstart_exp.geometry.bounds import (
    gradient_bounds,
    layers_of,
    maximum_norm_bounds,
    partial_backpropagation,
    two_norm_bounds,
)
from jumpstart_exp.geometry.decisions import (
    SoftBoundary,
    decided_classes,
    decision_regions,
    soft_boundary,
    unit_activations,
)
from jumpstart_exp.geometry.gradients import GradientField, backpropagation, gradient_field
from jumpstart_exp.geometry.layered import LayeredNetwork, example_classes, example_network
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.regions import LayerCuts, Pieces, Regions, linear_pieces, linear_regions
from jumpstart_exp.geometry.theorems import (
    maximum_cells,
    separating_hyperplanes,
    separating_hyperplanes_at_worst,
    separating_hyperplanes_of_convex_sets,
)
from jumpstart_exp.geometry.variation import exact_variation, fitted_variation, gradient_variation

__all__ = [
    "GradientField",
    "LayerCuts",
    "LayeredNetwork",
    "Pieces",
    "Plane",
    "Regions",
    "SoftBoundary",
    "backpropagation",
    "decided_classes",
    "decision_regions",
    "exact_variation",
    "example_classes",
    "example_network",
    "fitted_variation",
    "gradient_bounds",
    "gradient_field",
    "gradient_variation",
    "layers_of",
    "linear_pieces",
    "linear_regions",
    "maximum_cells",
    "maximum_norm_bounds",
    "partial_backpropagation",
    "separating_hyperplanes",
    "separating_hyperplanes_at_worst",
    "separating_hyperplanes_of_convex_sets",
    "soft_boundary",
    "two_norm_bounds",
    "unit_activations",
]
