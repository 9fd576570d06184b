"""How noisy the gradient of a sampled batch is, layer by layer, against the size of the batch.

Source: Geometry, section 5.4, figure 18.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from jumpstart_exp.geometry.gradients import Loss, cross_entropy, per_sample_gradients
from jumpstart_exp.geometry.layered import LayeredNetwork, identity, sigmoid
from jumpstart_exp.geometry.recording import in_float64
from jumpstart_exp.settings import SettingError, setting_error

Sampler = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(points, random numbers) → that many inputs (points, …) and their classes (points, …), drawn independently."""

BatchLoss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, inputs, classes) → the loss of the batch, a number; it may depend on the batch as a whole."""

Entries = Mapping[str, Sequence[tuple[int, ...]]]
"""Single entries of parameters to look at: their indices by the parameter's name."""


def mean_loss(loss: Loss = cross_entropy) -> BatchLoss:
    """The mean of the points' losses, of the first of the model's outputs if it has several."""

    def of_batch(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        found = model(x)
        outputs = found[0] if isinstance(found, tuple | list) else found
        return loss(outputs.reshape(len(x), -1), y).mean()

    return of_batch


def drawn_from(x: Tensor, y: Tensor) -> Sampler:
    """Batches drawn with replacement from points (points, …) and their classes (points, …)."""

    def draw(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(x), (size,), generator=generator)
        return x[chosen], y[chosen]

    return draw


def gradient_variation(
    model: nn.Module,
    sampler: Sampler,
    sizes: Sequence[int],
    *,
    draws: int = 200,
    loss: BatchLoss | None = None,
    entries: Entries | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The coefficient of variation of the gradient of sampled batches (figure 18 a).

    A copy of the model is probed, in float64, in the mode (training or evaluation) that the model is in.

    Args:
        model: any torch model; a layer is a parameter of two or more axes, in the order of registration.
        sampler: gives the batches.
        sizes: of the batches, in points.
        draws: batches of each size, at least 2.
        loss: of a batch; None for the mean cross entropy.
        entries: single entries, which get rows of their own.
        seed: of the batches and of what the model draws.

    Returns:
        A row a layer or entry and size: `part` (name, of an entry with its index), `size`, `draws`, `variation`:
        √(trace of the covariance of the gradient) / ‖its mean‖, and `mean_norm`. From the squared norm of the sampled
        mean its own expected noise, trace / draws, is taken off; where nothing remains, the mean cannot be told from 0
        by so many draws: its norm is 0 and the variation NaN. Both are NaN of gradients that are not finite.

    Raises:
        SettingError: too few draws or points, an entry or parameter that is not there, or a loss that is no number.
    """
    if draws < 2:
        raise setting_error("draws", draws, "an integer of at least 2")
    for size in sizes:
        if size < 1:
            raise setting_error("sizes", size, "an integer of at least 1")
    probed = in_float64(model)
    parameters = _parameters(probed, entries or {})
    of_batch, generator = loss or mean_loss(), torch.Generator().manual_seed(seed)
    rows = []
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        for size in sizes:
            moments: dict[str, tuple[Tensor, float]] = {}
            for draw in range(1, draws + 1):
                x, y = sampler(size, generator)
                x = x.double() if x.is_floating_point() else x
                total = of_batch(probed, x, y)
                if total.dim() != 0:
                    raise setting_error("loss", tuple(total.shape), "a number")
                gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
                for name, parameter, gradient in zip(parameters, parameters.values(), gradients, strict=True):
                    whole = torch.zeros_like(parameter) if gradient is None else gradient
                    for part, vector in _parts(name, whole, entries or {}):
                        moments[part] = _moved(moments.get(part), vector, draw)
            rows += [
                {"part": part, "size": size, "draws": draws, **_variation(mean, squares / (draws - 1), draws)}
                for part, (mean, squares) in moments.items()
            ]
    order = {part: number for number, part in enumerate(dict.fromkeys(row["part"] for row in rows))}
    return pd.DataFrame(rows).sort_values("part", key=lambda part: part.map(order), kind="stable", ignore_index=True)


def fitted_variation(frame: pd.DataFrame) -> pd.DataFrame:
    """Least-squares fits in the logarithms of what `gradient_variation` gives, a row a part.

    Returns:
        `part`; `c` of c/√N; `exponent` and `scale` of scale · N^exponent, NaN with fewer than two sizes; `sizes`: how
        many could be used, as the variation is known and above 0; all are NaN of none.
    """
    rows = []
    for part, each in frame.groupby("part", sort=False):
        known = each[each.variation > 0]
        size, variation = np.log(known["size"].to_numpy(float)), np.log(known.variation.to_numpy(float))
        exponent = scale = np.nan
        if len(np.unique(size)) > 1:
            exponent, logarithm = np.polyfit(size, variation, 1)
            scale = math.exp(logarithm)
        c = math.exp(float((variation + size / 2).mean())) if len(size) else np.nan
        rows.append({"part": part, "c": c, "exponent": exponent, "scale": scale, "sizes": len(size)})
    return pd.DataFrame(rows)


def exact_variation(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss = cross_entropy,
    entries: Entries | None = None,
    chunk: int = 4096,
) -> pd.DataFrame:
    """The c of c/√N, the coefficient of variation of batches drawn from points with replacement, without sampling.

    Of a loss that is the mean of the points' losses, in evaluation mode: c² = E‖g‖² / ‖E g‖² − 1, with g the gradient
    of one point's loss.

    Args:
        model: any torch model of logits that can be differentiated for one point at a time.
        x: all points, (points, …), each as likely as another.
        y: their classes, (points, …).
        loss: of points.
        entries: single entries, which get rows of their own.
        chunk: points at once.

    Returns:
        A row a layer or entry: `part`, `c` (NaN where the mean is 0), `mean_norm`.

    Raises:
        SettingError: an entry or parameter is not there, or the model cannot be differentiated point by point.
    """
    probed = in_float64(model)
    parameters = _parameters(probed, entries or {})
    x = x.double() if x.is_floating_point() else x
    sums: dict[str, tuple[Tensor, float]] = {}
    for at in range(0, len(x), chunk):
        gradients = per_sample_gradients(probed, list(parameters), x[at : at + chunk], y[at : at + chunk], loss)
        for name, of_points in gradients.items():
            for part, rows in _parts(name, of_points, entries or {}, rows=True):
                total, squares = sums.get(part, (torch.zeros(()), 0.0))
                sums[part] = (total + rows.sum(0), squares + float(rows.square().sum()))
    found = []
    for part, (total, squares) in sums.items():
        mean_square = float((total / len(x)).square().sum())
        variance = max(0.0, squares / len(x) - mean_square)
        c = math.sqrt(variance / mean_square) if mean_square > 0 else np.nan
        found.append({"part": part, "c": c, "mean_norm": math.sqrt(mean_square)})
    return pd.DataFrame(found)


def strip_network(weight: float, gamma: float = 1.0, output: float = 3.0) -> LayeredNetwork:
    """One hidden unit through (2, 0): A_1 = w·(1, 0.3)/√1.09, b_1 = A_1 (2, 0), A_2 = (3, −3), b_2 = 0 (section 5.1.1).

    Args:
        weight: w, the norm of A_1.
        gamma: of the unit's σ_γ.
        output: 3, the output weights but for their sign.
    """
    direction = torch.tensor([[1.0, 0.3]], dtype=torch.float64) * (weight / math.sqrt(1.09))
    return LayeredNetwork(
        [(direction, 2 * direction[:, 0], sigmoid(gamma)), ([[output], [-output]], [0.0, 0.0], identity())]
    )


def strip_sampler(extent: float) -> Sampler:
    """Points drawn uniformly from [−extent, extent] × [−1, 1]; those of a negative first coordinate are of class 1.

    Class 0 is that of the output with the weight 3: the hidden unit is positive there.
    """

    def draw(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = 2 * torch.rand(size, 2, generator=generator, dtype=torch.float64) - 1
        x = drawn * torch.tensor([extent, 1.0], dtype=torch.float64)
        return x, (x[:, 0] < 0).long()

    return draw


def _parameters(model: nn.Module, entries: Entries) -> dict[str, nn.Parameter]:
    """The layers' weights and what else entries are of, by name; gradients are asked of all."""
    known = dict(model.named_parameters())
    for name, indices in entries.items():
        if name not in known:
            raise setting_error("entries", name, f"one of {', '.join(known)}")
        for index in indices:
            shape = known[name].shape
            if len(index) != len(shape) or not all(0 <= at < most for at, most in zip(index, shape, strict=True)):
                raise setting_error(f"entries of {name}", index, f"an index within {tuple(shape)}")
    found = {name: one for name, one in known.items() if one.dim() > 1 or name in entries}
    if not found:
        raise SettingError("the model has no parameter of two or more axes: there is no layer to look at")
    for one in found.values():
        one.requires_grad_()
    return found


def _parts(name: str, gradient: Tensor, entries: Entries, *, rows: bool = False) -> list[tuple[str, Tensor]]:
    """The gradient by a parameter as a vector, and its single entries; with `rows` each has an axis of points first."""
    found = [(name, gradient.flatten(int(rows)))] if gradient.dim() > 1 + rows else []
    for index in entries.get(name, ()):
        entry = gradient.movedim(0, -1) if rows else gradient  # the points last
        for at in index:
            entry = entry[at]
        found.append((f"{name}[{', '.join(map(str, index))}]", entry[..., None]))
    return found


def _moved(so_far: tuple[Tensor, float] | None, vector: Tensor, count: int) -> tuple[Tensor, float]:
    """Mean, and sum of squared distances from it, with one vector more (Welford)."""
    if so_far is None:
        return vector, 0.0
    mean, squares = so_far
    apart = vector - mean
    mean = mean + apart / count
    return mean, squares + float((apart * (vector - mean)).sum())


def _variation(mean: Tensor, trace: float, draws: int) -> dict[str, float]:
    left = float(mean.square().sum()) - trace / draws
    if not math.isfinite(left):
        return {"variation": np.nan, "mean_norm": np.nan}
    return {
        "variation": math.sqrt(trace / left) if left > 0 else np.nan,
        "mean_norm": math.sqrt(max(left, 0.0)),
    }
