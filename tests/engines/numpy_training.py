"""A whole training in float64 NumPy, written from the formulas: forward, backward, penalty, Adam, what is measured.

It shares only the description (`Cell`) and the addressed dropout draws with the package. Activations have the shape
(points, channels, positions): one position in an MLP, two in the 2×1 layout, where a filter has two taps and the
input beyond the last position is zero. Gradients and parameters carry torch's names.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.randomness import Stream, random_bits

Array = NDArray[np.float64]
Named = dict[str, Array]


@dataclass(frozen=True)
class Batch:
    """What one batch looked like before its update, and the gradient of its total loss."""

    task: float
    penalty: float
    right: int
    gradients: Named


@dataclass(frozen=True)
class Epoch:
    """What one epoch looked like: training as seen in it, the rest after it in evaluation mode."""

    train_acc: float
    val_acc: float
    train_loss: float
    val_loss: float
    penalty: float

    @property
    def finite(self) -> bool:
        return bool(np.isfinite([self.train_loss, self.val_loss, self.penalty]).all())


@dataclass
class Layer:
    """One hidden layer's forward pass, kept for the way back."""

    entering: Array
    affine: Array
    normalised: Array
    deviation: Array
    pre_activation: Array


KNOWN = {
    "network.layout": ("mlp", "conv2x1"),
    "network.activation": ("relu",),
    "network.norm": ("none", "batch"),
    "penalty.kind": ("none", "U", "P", "UP", "L"),
    "penalty.aggregate": ("sum", "mean", "l2", "sum_sq"),
    "penalty.point_sides": (),
    "penalty.upper_bound": (),
    "optimizer.clip_norm": (),
    "penalty.ties": ("shared", "single"),
    "penalty.scope": ("channel", "position"),
    "optimizer.name": ("adam",),
    "optimizer.eps_rule": ("torch", "keras"),
}
"""What the formulas are written for; other choices of these fields, and fields that joined later, are not."""


def is_known(cell: Cell) -> bool:
    """Whether the formulas are those of the cell."""
    description, neutral = cell.description(), cell.described.neutral
    return all(description[name] in (None, *values) for name, values in KNOWN.items()) and all(
        description[name] in (None, value) for name, value in neutral.items() if name not in KNOWN
    )


class NumpyTraining:
    """The training of a cell from given initial parameters."""

    def __init__(self, cell: Cell, initial: Mapping[str, Array], data: Data) -> None:
        self.cell = cell
        self.parameters = {name: np.array(value, dtype=np.float64) for name, value in initial.items()}
        self.x_train, self.y_train = data.x_train.numpy(), data.y_train.numpy()
        self.x_val, self.y_val = data.x_val.numpy(), data.y_val.numpy()
        self.means = [np.zeros(cell.width) for _ in range(cell.depth)]
        self.variances = [np.ones(cell.width) for _ in range(cell.depth)]
        self.first_moments = {name: np.zeros_like(value) for name, value in self.parameters.items()}
        self.second_moments = {name: np.zeros_like(value) for name, value in self.parameters.items()}
        self.steps = 0
        self.closest = math.inf  # smallest distance so far of what rounding alone could turn round

    def run(self, epochs: int) -> list[Epoch]:
        return [self.train_epoch(epoch) for epoch in range(epochs)]

    def train_epoch(self, epoch: int) -> Epoch:
        n_train, loss, right = len(self.x_train), 0.0, 0
        for points in self.batches():
            batch = self.batch(points, epoch)
            self.adam(batch.gradients)
            loss += batch.task * len(points)
            right += batch.right
        val_logits, _ = self.forward(self.x_val, None, training=False)
        return Epoch(
            right / n_train,
            count_right(val_logits, self.y_val) / len(self.y_val),
            loss / n_train,
            cross_entropy(val_logits, self.y_val),
            self.evaluate_training_set()[0],
        )

    def batches(self) -> Iterator[NDArray[np.int64]]:
        n_train = len(self.x_train)
        size = self.cell.optimizer.batch_size or n_train
        assert size >= n_train or not self.cell.optimizer.shuffle, "the reference keeps the order"
        for first in range(0, n_train, size):
            yield np.arange(first, min(first + size, n_train))

    def batch(self, points: NDArray[np.int64], epoch: int) -> Batch:
        """Losses and gradients of one batch in training mode; `epoch` counts from 0."""
        x, y = self.x_train[points], self.y_train[points]
        factors = self.dropout(points, epoch)
        logits, layers = self.forward(x, factors, training=True)
        penalty, slopes = self.penalty([layer.pre_activation for layer in layers])
        logit_slope = (sigmoid(logits) - y) / len(y) if self.cell.task_loss else np.zeros_like(logits)
        gradients = self.backward(layers, factors, logit_slope, [self.weight * slope for slope in slopes])
        return Batch(cross_entropy(logits, y), penalty, count_right(logits, y), gradients)

    @property
    def weight(self) -> float:
        """λ, 0 without a penalty."""
        return 0.0 if self.cell.penalty.kind == "none" else self.cell.penalty.weight

    def dropout(self, points: NDArray[np.int64], epoch: int) -> list[Array] | None:
        """Factors for the input of every hidden layer: p(t) = max(0, p₀·(1 − t/T)), kept where draw ≥ ⌊p·2³²⌋."""
        spec = self.cell.dropout
        p = max(0.0, spec.rate * (1 - epoch / spec.anneal_epochs))
        if p == 0:
            return None
        factors = []
        for layer in range(self.cell.depth):
            shape = (1, 2) if self.two_positions else (self.x_train.shape[1], 1)
            if layer > 0:
                shape = (self.cell.width, 2 if self.two_positions else 1)
            drawn = random_bits(Stream.DROPOUT, self.cell.seed, epoch, [layer], points, shape[0] * shape[1])[0]
            kept = drawn.astype(np.float64) >= math.floor(p * 2**32)
            factors.append(np.where(kept, 1 / (1 - p), 0.0).reshape(len(points), *shape))
        return factors

    @property
    def two_positions(self) -> bool:
        return self.cell.network.layout == "conv2x1"

    def taps(self, layer: int) -> Array:
        """A hidden layer's weights, (outputs, inputs, taps)."""
        weight = self.parameters[f"hidden.{layer}.weight"]
        return weight if self.two_positions else weight[:, :, None]

    def forward(self, x: Array, factors: list[Array] | None, *, training: bool) -> tuple[Array, list[Layer]]:
        """Logits (points,) and the hidden layers; in training mode batch norm moves its running averages."""
        activation = x[:, None, :] if self.two_positions else x[:, :, None]
        layers = []
        for index in range(self.cell.depth):
            entering = activation if factors is None else activation * factors[index]
            taps, bias = self.taps(index), self.parameters[f"hidden.{index}.bias"]
            affine = np.zeros((len(x), len(bias), entering.shape[2])) + bias[None, :, None]
            for position, tap in seen_taps(entering.shape[2]):
                affine[:, :, position] += entering[:, :, position + tap] @ taps[:, :, tap].T
            layer = Layer(entering, affine, affine, np.ones(len(bias)), affine)
            if self.cell.network.norm == "batch":
                self.normalise(layer, index, training)
            layers.append(layer)
            activation = np.maximum(layer.pre_activation, 0.0)
        flat = activation.reshape(len(x), -1)
        return flat @ self.parameters["output.weight"][0] + self.parameters["output.bias"][0], layers

    def normalise(self, layer: Layer, index: int, training: bool) -> None:
        mean, variance = self.means[index], self.variances[index]
        if training:
            count = layer.affine.shape[0] * layer.affine.shape[2]
            mean, variance = layer.affine.mean(axis=(0, 2)), layer.affine.var(axis=(0, 2))
            # a unit that is the same for all points leaves its mean but for rounding, which then decides who is active
            self.closest = min(self.closest, float(np.sqrt(variance).min()))
            m = self.cell.network.norm_momentum
            self.means[index] = (1 - m) * self.means[index] + m * mean
            self.variances[index] = (1 - m) * self.variances[index] + m * variance * count / (count - 1)
        layer.deviation = np.sqrt(variance + self.cell.network.norm_eps)
        layer.normalised = (layer.affine - mean[None, :, None]) / layer.deviation[None, :, None]
        scale, shift = self.parameters[f"norms.{index}.weight"], self.parameters[f"norms.{index}.bias"]
        layer.pre_activation = layer.normalised * scale[None, :, None] + shift[None, :, None]

    def backward(
        self, layers: list[Layer], factors: list[Array] | None, logit_slope: Array, penalty_slopes: list[Array]
    ) -> Named:
        """Gradients of the total loss, from its slopes in the logits and in every pre-activation."""
        gradients: Named = {}
        last = np.maximum(layers[-1].pre_activation, 0.0)
        gradients["output.weight"] = (logit_slope @ last.reshape(len(last), -1))[None, :]
        gradients["output.bias"] = np.array([logit_slope.sum()])
        slope = (logit_slope[:, None] * self.parameters["output.weight"]).reshape(last.shape)
        for index in reversed(range(self.cell.depth)):
            layer = layers[index]
            slope = slope * (layer.pre_activation > 0) + penalty_slopes[index]
            if self.cell.network.norm == "batch":
                gradients[f"norms.{index}.weight"] = (slope * layer.normalised).sum(axis=(0, 2))
                gradients[f"norms.{index}.bias"] = slope.sum(axis=(0, 2))
                slope = slope * self.parameters[f"norms.{index}.weight"][None, :, None]
                through_mean = slope.mean(axis=(0, 2), keepdims=True)
                through_variance = layer.normalised * (slope * layer.normalised).mean(axis=(0, 2), keepdims=True)
                slope = (slope - through_mean - through_variance) / layer.deviation[None, :, None]
            taps = self.taps(index)
            taps_slope, entering_slope = np.zeros_like(taps), np.zeros_like(layer.entering)
            for position, tap in seen_taps(layer.entering.shape[2]):
                taps_slope[:, :, tap] += slope[:, :, position].T @ layer.entering[:, :, position + tap]
                entering_slope[:, :, position + tap] += slope[:, :, position] @ taps[:, :, tap]
            gradients[f"hidden.{index}.weight"] = taps_slope if self.two_positions else taps_slope[:, :, 0]
            gradients[f"hidden.{index}.bias"] = slope.sum(axis=(0, 2))
            slope = entering_slope if factors is None else entering_slope * factors[index]
        return gradients

    def penalty(self, layers: list[Array]) -> tuple[float, list[Array]]:
        """The aggregate over all pairs v = ρ·max(0, above − max g) + (1−ρ)·max(0, min g − below), and its slopes."""
        spec = self.cell.penalty
        slopes = [np.zeros_like(g) for g in layers]
        if spec.kind == "none":
            return 0.0, slopes
        values, routes = [], []
        for index, g in enumerate(layers):
            layer_weight = 1.0 if spec.layer_weights is None else spec.layer_weights[index]
            for kind in spec.kind:
                entries = constraint_entries(g.shape, kind, spec.scope)
                candidates = g.reshape(-1)[entries]
                above = np.maximum(0.0, spec.margin_above - candidates.max(axis=1))
                below = np.maximum(0.0, candidates.min(axis=1) - spec.margin_below)
                values.append(layer_weight * (spec.balance * above + (1 - spec.balance) * below))
                route = -spec.balance * (above > 0)[:, None] * self.chosen(candidates)
                route += (1 - spec.balance) * (below > 0)[:, None] * self.chosen(-candidates)
                routes.append((index, entries, layer_weight * route))
        v = np.concatenate(values)
        norm = math.sqrt(float((v**2).sum()))
        aggregate, per_pair = {
            "sum": (v.sum(), np.ones_like(v)),
            "mean": (v.sum() / len(v), np.full_like(v, 1 / len(v))),
            "sum_sq": ((v**2).sum(), 2 * v),
            "l2": (norm, v / norm if norm > 0 else np.zeros_like(v)),
        }[spec.aggregate]
        start = 0
        for index, entries, route in routes:
            pair_slopes = per_pair[start : start + len(entries)]
            slopes[index].reshape(-1)[entries] += pair_slopes[:, None] * route  # no entry stands twice in one kind
            start += len(entries)
        return float(aggregate), slopes

    def chosen(self, candidates: Array) -> Array:
        """Who gets the gradient of each row's maximum: the tied in equal parts, or the first of them.

        An unequal candidate just below the maximum could be it after another rounding.
        """
        tied = candidates == candidates.max(axis=1, keepdims=True)
        others = np.where(tied, -np.inf, candidates).max(axis=1)
        self.closest = min(self.closest, float((candidates.max(axis=1) - others).min()))
        if self.cell.penalty.ties == "shared":
            return tied / tied.sum(axis=1, keepdims=True)
        assert self.cell.penalty.ties == "single"
        first = np.zeros_like(candidates)
        first[np.arange(len(candidates)), tied.argmax(axis=1)] = 1.0
        return first

    def adam(self, gradients: Named) -> None:
        """Kingma and Ba: m̂/(√v̂ + ε); Keras takes their other form, whose ε̂ stands beside √v before its correction."""
        spec = self.cell.optimizer
        self.steps += 1
        correction1, correction2 = 1 - spec.beta1**self.steps, 1 - spec.beta2**self.steps
        for name, gradient in gradients.items():
            m = self.first_moments[name] = spec.beta1 * self.first_moments[name] + (1 - spec.beta1) * gradient
            v = self.second_moments[name] = spec.beta2 * self.second_moments[name] + (1 - spec.beta2) * gradient**2
            if spec.eps_rule == "keras":
                update = spec.lr * math.sqrt(correction2) / correction1 * m / (np.sqrt(v) + spec.eps)
            else:
                update = spec.lr * (m / correction1) / (np.sqrt(v / correction2) + spec.eps)
            self.parameters[name] = self.parameters[name] - update

    def dead_at_some_layer(self) -> float:
        """The share of the training points that no unit of some hidden layer sees, in evaluation mode (ICLR, eq. 7)."""
        _, layers = self.forward(self.x_train, None, training=False)
        dead = [~(layer.pre_activation > 0).any(axis=(1, 2)) for layer in layers]
        return float(np.mean(np.any(dead, axis=0)))

    def activity(self) -> dict[str, list[float]]:
        """Of each layer the share of τ-dormant units and the mean firing rate, on the whole training set."""
        _, layers = self.forward(self.x_train, None, training=False)
        return activity([layer.pre_activation for layer in layers])

    def evaluate_training_set(self) -> tuple[float, dict[str, float]]:
        """Penalty and census of the whole training set in evaluation mode."""
        _, layers = self.forward(self.x_train, None, training=False)
        closest = self.closest
        penalty, _ = self.penalty([layer.pre_activation for layer in layers])
        self.closest = closest
        fractions: dict[str, list[float]] = {}
        for layer in layers:
            active = layer.pre_activation > 0
            fractions.setdefault("dead_units", []).extend(~active.any(axis=(0, 2)))
            fractions.setdefault("linear_units", []).extend(active.all(axis=(0, 2)))
            fractions.setdefault("dead_points", []).extend(~active.any(axis=(1, 2)))
            fractions.setdefault("linear_points", []).extend(active.all(axis=(1, 2)))
        return penalty, {name: float(np.mean(found)) for name, found in fractions.items()}


def activity(pre_activations: list[Array]) -> dict[str, list[float]]:
    """Of each ReLU layer (points, channels, positions): τ-dormant units (Sokar 2023, τ = 0.025) and firing rates."""
    found: dict[str, list[float]] = {"dormant_units": [], "firing_rate": []}
    for g in pre_activations:
        score = np.maximum(g, 0).mean(axis=(0, 2))
        score = score / (score.mean() + 1e-9)
        found["dormant_units"].append(float(np.mean(score <= 0.025)))
        found["firing_rate"].append(float(np.mean(g > 0)))
    return found


def seen_taps(positions: int) -> list[tuple[int, int]]:
    """(position, tap) wherever position + tap is not padding."""
    return [(position, tap) for position in range(positions) for tap in range(positions - position)]


@lru_cache(maxsize=200)
def constraint_entries(shape: tuple[int, ...], kind: str, scope: str) -> NDArray[np.int64]:
    """Flat indices into (points, channels, positions), ascending in each row: one row a constraint."""
    points, channels, positions = shape
    flat = np.arange(math.prod(shape)).reshape(shape)
    if kind == "L":
        return flat.reshape(1, -1)
    if kind == "U":
        rows = flat.transpose(1, 0, 2) if scope == "channel" else flat.transpose(1, 2, 0)
        return rows.reshape(channels if scope == "channel" else channels * positions, -1)
    rows = flat if scope == "channel" else flat.transpose(0, 2, 1)
    return rows.reshape(points if scope == "channel" else points * positions, -1)


def sigmoid(z: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def cross_entropy(logits: Array, y: NDArray[np.int64]) -> float:
    """Mean of −log of the probability of the right class; the logit is the log-odds of class 1."""
    return float(np.mean(np.logaddexp(0.0, np.where(y == 1, -logits, logits))))


def count_right(logits: Array, y: NDArray[np.int64]) -> int:
    return int(((logits > 0) == (y == 1)).sum())
