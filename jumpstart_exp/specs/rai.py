"""Relaxed activation identity as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting, setting_error


@dataclass(frozen=True)
class RaiSpec:
    """Relaxed activation identity (Mertens, equations 2 to 4): the hidden values z of every training point are trained.

    What a relaxed layer hands on is its z; the loss is the task's and `weight` times the sum over relaxed layers of
    the hidden loss between z and what the layer makes of its input. Points are averaged in both, so the sum over the
    points of equation 4 is so many times larger. Its relatives: the method of auxiliary coordinates
    (Carreira-Perpiñán and Wang 2014), ADMM training (Taylor et al. 2016), lifted networks, predictive coding.
    """

    weight: float = setting(
        0.0, low=0, neutral=0.0, about="of the hidden loss; 0 trains without relaxation", role="method", tunes=True
    )
    relax: str = setting(
        "activation",
        choices=("activation", "pre_activation"),
        about="what of a layer is trained: what it hands on, or what its activation sees",
        role="method",
        tunes=True,
    )
    include_output: bool = setting(
        False,
        about="the network's outputs are relaxed, too, and the task's loss is of theirs",
        role="method",
        tunes=True,
    )
    every: int = setting(1, low=1, about="every so many hidden layers one is relaxed", role="method", tunes=True)
    layers: tuple[int, ...] | None = setting(
        None, low=1, about="the relaxed hidden layers, from 1 on, in place of rai.every", role="method", tunes=True
    )
    loss: str = setting(
        "squared",
        choices=("squared", "cross_entropy"),
        about="the hidden loss; cross_entropy: of logistic units, less its least value",
        role="method",
        tunes=True,
    )
    reduce: str = setting(
        "sum", choices=("sum", "mean"), about="over a layer's units, of the hidden loss", role="method", tunes=True
    )
    schedule: str = setting(
        "constant",
        choices=("constant", "geometric"),
        about="of the weight; geometric: it rises, or falls, to rai.final_weight",
        role="method",
        tunes=True,
    )
    final_weight: float = setting(
        100.0, above=0, about="at the last step, with schedule=geometric", role="method", tunes=True
    )
    start: str = setting(
        "forward",
        choices=("forward", "random", "targets"),
        about="z at the beginning: of a forward pass, of normal pre-activations, or the points' targets",
        role="method",
        tunes=True,
    )
    period: int = setting(
        0, low=0, neutral=0, about="steps after which z begins anew from a forward pass; 0 for never", role="method"
    )
    rate: float = setting(
        1.0, above=0, about="learning rate of z as a multiple of optimizer.lr", role="method", tunes=True
    )

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        if self.weight == 0:
            return
        if self.layers is not None and self.every != 1:
            raise setting_error("rai.every", self.every, "1 where rai.layers says which layers are relaxed")
        if self.layers is not None and list(self.layers) != sorted(set(self.layers)):
            raise setting_error("rai.layers", list(self.layers), "a list of layers that rises")

    def relaxed_layers(self, depth: int) -> tuple[int, ...]:
        """The hidden layers that are relaxed, counted from 0."""
        if self.layers is not None:
            return tuple(layer - 1 for layer in self.layers)
        return tuple(range(self.every - 1, depth, self.every))
