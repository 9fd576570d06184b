"""The optimizer and the length of the training as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting


@dataclass(frozen=True)
class OptimizerSpec:
    """Adam and the length of the training."""

    name: str = setting("adam", choices=("adam",))
    lr: float = setting(0.01, above=0, about="learning rate")
    beta1: float = setting(0.9, low=0, high=0.999999)
    beta2: float = setting(0.999, low=0, high=0.999999)
    eps: float = setting(1e-8, above=0, about="Adam's ε")
    eps_rule: str = setting(
        "torch", choices=("torch", "keras"), about="keras adds ε before the bias correction, torch after it"
    )
    epochs: int = setting(5000, low=1)
    batch_size: int | None = setting(None, low=1, about="points a step; null takes all")
    shuffle: bool = setting(True, about="a new order of the points every epoch (mini-batches only)")
