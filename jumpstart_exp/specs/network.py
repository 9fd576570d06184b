"""A rectangular network but for its depth and width."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting


@dataclass(frozen=True)
class NetworkSpec:
    """A rectangular network but for its depth and width (METHOD: hidden layer = affine → norm → activation)."""

    layout: str = setting(
        "mlp", choices=("mlp", "conv2x1", "cnn"), about="cnn: images; conv2x1: the authors' MOONS grid"
    )
    kernel: int = setting(3, low=1, high=31, about="height and width of a CNN's filters, an odd number")
    head: str = setting(
        "flatten", choices=("flatten", "max_avg_pool"), about="what a CNN's output layer sees: all, or global pooling"
    )
    activation: str = setting("relu", choices=("relu",), neutral="relu", about="of the hidden layers", role="method")
    norm: str = setting("none", choices=("none", "batch"), about="between affine map and activation", role="method")
    norm_eps: float = setting(1e-3, above=0, about="ε of the batch norm", role="method", tunes=True)
    norm_momentum: float = setting(
        0.01, above=0, high=1, about="weight of the new batch in the running averages", role="method", tunes=True
    )
    init: str = setting(
        "glorot_uniform",
        choices=("glorot_uniform", "glorot_uniform_2x1", "kaiming_uniform", "zero"),
        about="glorot_uniform_2x1: an MLP's first layer with the fans of a 'valid' 2×1 convolution",
        role="method",
    )
