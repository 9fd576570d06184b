"""A network but for its depth and width."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting, setting_error


@dataclass(frozen=True)
class NetworkSpec:
    """A network but for its depth and width (hidden layer = affine → norm → activation).

    Sources of the blocks: He et al. 2015 (leaky_relu, prelu, he_normal), Clevert et al. 2016 (elu), Klambauer et al.
    2017 (selu, lecun_normal), Hendrycks and Gimpel 2016 (gelu), Zhang, Botev and Martens 2022 (tat), Shang et al. 2016
    and Balduzzi et al. 2017 (crelu, looks_linear), van den Berg 2014 (sigmoid), Ba et al. 2016 (layer), He et al. 2016
    (skips), Bachlechner et al. 2020 (their scale zero), Zhang et al. 2019 (fixup), Saxe et al. 2014 (orthogonal),
    Burkholz and Dubatovka 2019 (block_orthogonal), Lu et al. 2020 (asymmetric), Lee et al. 2024 (deep_narrow),
    Pooladian et al. 2020 (farkas), paper Geometry, section 5 (hyperplane).
    """

    layout: str = setting(
        "mlp", choices=("mlp", "conv2x1", "cnn"), about="cnn: images; conv2x1: the authors' MOONS grid"
    )
    widths: tuple[int, ...] | None = setting(
        None, low=1, high=10_000_000, about="units of every hidden layer, in place of depth and width"
    )
    kernel: int = setting(3, low=1, high=31, about="height and width of a CNN's filters, an odd number")
    head: str = setting(
        "flatten", choices=("flatten", "max_avg_pool"), about="what a CNN's output layer sees: all, or global pooling"
    )
    activation: str = setting(
        "relu",
        choices=(
            *("relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "tanh"),
            *("sigmoid", "logistic", "softplus", "tat", "crelu"),
        ),
        functions=True,
        neutral="relu",
        about="of the hidden layers; sigmoid: 2/(1 + exp(−γx)) − 1; crelu: relu(x) and relu(−x), twice the outputs",
        role="method",
    )
    activation_source: str | None = setting(
        None, about="hash of the source of an activation of your own, filled in by itself", role="method"
    )
    leaky_slope: float = setting(0.01, low=0, high=1, about="of leaky_relu below 0", role="method", tunes=True)
    prelu_start: float = setting(
        0.25, low=0, high=1, about="of prelu's trained slope, one a layer", role="method", tunes=True
    )
    sigmoid_gamma: float = setting(1.0, above=0, about="γ of sigmoid", role="method", tunes=True)
    tat_eta: float = setting(
        0.9, above=0, high=0.999, about="η of tat: what its slope makes of a correlation 0", role="method", tunes=True
    )
    norm: str = setting(
        "none", choices=("none", "batch", "layer"), about="between affine map and activation", role="method"
    )
    norm_eps: float = setting(1e-3, above=0, about="ε of the norm", role="method", tunes=True)
    norm_momentum: float = setting(
        0.01, above=0, high=1, about="weight of the new batch in the running averages", role="method", tunes=True
    )
    skip_every: int = setting(
        0,
        low=0,
        neutral=0,
        about="hidden layers that a skip goes over, from the second on; 0 for no skips",
        role="method",
    )
    skip_scale: str = setting(
        "1",
        choices=("1", "zero", "fixup"),
        about="of the branch beside a skip: 1, or trained from 0 on (ReZero), or as Fixup has it",
        role="method",
    )
    farkas: bool = setting(
        False, neutral=False, about="a layer's last unit is on where all others are off", role="method"
    )
    init: str = setting(
        "glorot_uniform",
        choices=(
            *("glorot_uniform", "glorot_uniform_2x1", "kaiming_uniform", "he_normal", "lecun_normal", "orthogonal"),
            *("block_orthogonal", "looks_linear", "asymmetric", "deep_narrow", "hyperplane", "zero"),
        ),
        functions=True,
        about="glorot_uniform_2x1: as of a 'valid' 2×1 convolution, in an MLP's first layer; hyperplane: of one unit",
        role="method",
    )
    init_source: str | None = setting(
        None, about="hash of the source of an initialisation of your own, filled in by itself", role="method"
    )

    init_norm: float = setting(
        25.0, above=0, about="hyperplane: length of the first unit's weights, along (1, 0.3)", role="method", tunes=True
    )
    init_at: float = setting(
        2.0, about="hyperplane: where the first unit's cuts the first axis", role="method", tunes=True
    )
    init_gain: float = setting(
        3.0, above=0, about="hyperplane: weight of later units and of the two classes, ±", role="method", tunes=True
    )

    def blocks(self, depth: int) -> int:
        """Blocks that a skip goes over, of `skip_every` hidden layers each, from the second layer on."""
        return (depth - 1) // self.skip_every if self.skip_every else 0

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        if self.init == "looks_linear" and self.activation != "crelu":
            raise setting_error("network.init", self.init, "another one without network.activation=crelu")
        if self.init in ("block_orthogonal", "hyperplane") and self.activation == "crelu":
            raise setting_error("network.init", self.init, "another one with network.activation=crelu")
        if self.skip_every == 1 and self.skip_scale == "fixup":
            raise setting_error("network.skip_every", 1, "at least 2 with network.skip_scale=fixup")
        if self.skip_every and self.activation == "crelu":
            raise setting_error("network.skip_every", self.skip_every, "0 with network.activation=crelu")
        if self.layout != "mlp" and self.init in ("block_orthogonal", "deep_narrow", "hyperplane"):
            raise setting_error("network.init", self.init, f"another one for network.layout={self.layout}")
        if self.init == "looks_linear" and (self.layout, self.head) == ("cnn", "max_avg_pool"):
            raise setting_error("network.init", self.init, "another one with network.head=max_avg_pool")
        if self.farkas:
            self._check_farkas()
        if self.widths is not None and self.layout != "mlp":
            raise setting_error("network.widths", list(self.widths), f"null for network.layout={self.layout}")

    def _check_farkas(self) -> None:
        why = "its last unit has no weights"
        if self.init in ("block_orthogonal", "looks_linear", "asymmetric", "deep_narrow", "hyperplane"):
            raise setting_error("network.init", self.init, "another one with network.farkas", why)
        if self.norm != "none":
            raise setting_error("network.norm", self.norm, "none with network.farkas", "a norm would turn units off")
