"""Networks of the plainest kind."""

from jumpstart_exp.networks.activations import activation_of
from jumpstart_exp.specs.network import NetworkSpec


def is_plain(spec: NetworkSpec, depth: int) -> bool:
    """Whether every hidden layer is an affine map, a norm and an activation without parameters, an output a unit."""
    activation = activation_of(spec)
    return not (spec.farkas or spec.blocks(depth) or activation.is_trained or activation.outputs > 1)
