"""The paper's figures that no stored result is needed for, by name."""

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from jumpstart_exp.report.geometry.gradients import (
    backpropagation_figure,
    example_forward_figure,
    gradient_field_figure,
    partial_figure,
    variation_figure,
)
from jumpstart_exp.report.geometry.worked import (
    boolean_figure,
    importance_figure,
    level_sets_figure,
    mapping_figure,
    nary_figure,
    primitives_figure,
    rotation_figure,
    transitions_figure,
)

COMPUTED: Mapping[str, Callable[[float], Figure]] = {
    "geometry-2": mapping_figure,
    "geometry-3": boolean_figure,
    "geometry-4": nary_figure,
    "geometry-5": level_sets_figure,
    "geometry-6": transitions_figure,
    "geometry-7": rotation_figure,
    "geometry-8": primitives_figure,
    "geometry-9": importance_figure,
    "geometry-10": example_forward_figure,
    "geometry-11": backpropagation_figure,
    "geometry-12": gradient_field_figure,
    "geometry-17": partial_figure,
    "geometry-18": variation_figure,
}
"""Width in inches → figure."""
