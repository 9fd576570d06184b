"""The optimizer and the length of the training as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting, setting_error


@dataclass(frozen=True)
class OptimizerSpec:
    """The optimizer, its schedule and the length of the training.

    As torch has them: `weight_decay` is added to the gradient (λ‖θ‖²/2), under adamw it shrinks the parameters; rprop's
    factors are 0.5 and 1.2, its steps within 1e-6 and 50. A step's rate is `lr` times the warm-up's factor
    min(1, step/warmup_steps), step counted from 1, times the schedule's: 1, ½(1 + cos(π·(step − 1)/steps)), or
    step_factor^⌊epoch/step_every⌋, epoch counted from 0.

    A row of a layer's weights is what enters one of its units, bias left out: of a filter all its taps, of a Farkas
    layer one of its n − 1 rows. `row_penalty` is a term of the loss, ½λ‖row‖₂² of every row: λ·weight is added to the
    gradient before its norm is clipped, whatever the optimizer; recorded losses are without it. With `row_limit` a row
    that a step leaves longer than κ is scaled back to κ (both: van den Berg 2014, section 5.2, equation 13). Layers are
    counted from 1, and depth + 1 is the output layer. What is not among `trained_layers` keeps its weights, biases,
    norm and slope as they begin; running statistics of its batch norm still follow the points.
    """

    name: str = setting("adam", choices=("adam", "adamw", "sgd", "rmsprop", "rprop"), role="method", tunes=True)
    lr: float = setting(0.01, above=0, about="learning rate")
    beta1: float = setting(0.9, low=0, high=0.999999)
    beta2: float = setting(0.999, low=0, high=0.999999)
    eps: float = setting(1e-8, above=0, about="ε of adam, adamw and rmsprop")
    eps_rule: str = setting(
        "torch", choices=("torch", "keras"), about="keras adds ε before the bias correction, torch after it"
    )
    momentum: float = setting(0.0, low=0, high=0.999999, neutral=0.0, about="of sgd and rmsprop")
    nesterov: bool = setting(False, neutral=False, about="Nesterov's momentum (sgd)")
    alpha: float = setting(0.99, low=0, high=0.999999, about="kept share of rmsprop's mean square")
    weight_decay: float = setting(0.0, low=0, neutral=0.0, role="method", tunes=True)
    clip_norm: float | None = setting(
        None, above=0, about="what a step's gradient's norm is brought down to; null for no clipping", role="method"
    )
    row_penalty: float = setting(
        0.0, low=0, neutral=0.0, about="λ of ½λ‖row‖² for the rows of optimizer.row_layers", role="method", tunes=True
    )
    row_limit: float | None = setting(
        None,
        above=0,
        about="κ, to which longer rows of optimizer.row_layers are scaled back after each step; null for no limit",
        role="method",
        tunes=True,
    )
    row_layers: tuple[int, ...] = setting(
        (1,),
        low=1,
        about="layers of row_penalty and row_limit, from 1 on; depth + 1 is the output layer",
        role="method",
        tunes=True,
    )
    trained_layers: tuple[int, ...] | None = setting(
        None, low=1, about="layers that are trained, counted likewise; null for all", role="method"
    )
    schedule: str = setting(
        "constant", choices=("constant", "cosine", "step"), neutral="constant", about="of the learning rate"
    )
    warmup_steps: int = setting(0, low=0, neutral=0, about="steps over which the learning rate rises linearly")
    step_every: int = setting(1000, low=1, about="epochs between the falls of schedule=step")
    step_factor: float = setting(0.1, above=0, high=1, about="of such a fall")
    epochs: int = setting(5000, low=1)
    batch_size: int | None = setting(None, low=1, about="points a step; null takes all")
    shuffle: bool = setting(True, about="a new order of the points every epoch (mini-batches only)")

    @property
    def acts_on_rows(self) -> bool:
        """Whether rows of weights are penalised or limited."""
        return self.row_penalty > 0 or self.row_limit is not None

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        lists = {"trained_layers": self.trained_layers, "row_layers": self.row_layers if self.acts_on_rows else None}
        for name, layers in lists.items():
            if layers is not None and list(layers) != sorted(set(layers)):
                raise setting_error(f"optimizer.{name}", list(layers), "a list of layers that rises")
        if self.name == "sgd" and self.nesterov and self.momentum == 0:
            raise setting_error("optimizer.nesterov", True, "false without optimizer.momentum")
        if self.name != "rprop":
            return
        for name, value in {
            "weight_decay": self.weight_decay or None,
            "clip_norm": self.clip_norm,
            "warmup_steps": self.warmup_steps or None,
            "schedule": self.schedule if self.schedule != "constant" else None,
        }.items():
            if value is not None:
                neutral = type(self)().__getattribute__(name)
                raise setting_error(f"optimizer.{name}", value, f"{neutral} with rprop", "its steps see signs alone")
