"""A convolutional network's whole training in float64 NumPy, written from the formulas; Adam is `numpy_training`'s.

It shares only the description (`Cell`) and the addressed draws with the package. Activations have the shape (points,
channels, positions), the positions of an image row by row. Gradients and parameters carry torch's names.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from numpy_training import (
    Array,
    Batch,
    Epoch,
    Layer,
    Named,
    NumpyTraining,
    activity,
    constraint_entries,
    count_right,
    sigmoid,
)
from numpy_training import cross_entropy as binary_cross_entropy

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.randomness import Stream, random_bits
from jumpstart_exp.result import CENSUS

Points = NDArray[np.int64]
TieDraws = Callable[[str, int, int], NDArray[np.uint32]]

TIE_STREAMS = {
    ("U", "above"): Stream.TIE_UNIT_ABOVE,
    ("U", "below"): Stream.TIE_UNIT_BELOW,
    ("P", "above"): Stream.TIE_POINT_ABOVE,
    ("P", "below"): Stream.TIE_POINT_BELOW,
    ("L", "above"): Stream.TIE_LAYER_ABOVE,
    ("L", "below"): Stream.TIE_LAYER_BELOW,
}


@dataclass(frozen=True)
class Evaluation:
    """Penalty and census, a row a layer, of the whole training set in evaluation mode."""

    penalty: float
    census: dict[str, list[float]]
    dead_at_some_layer: float

    def mean(self, name: str) -> float:
        return float(np.mean(self.census[name]))


class NumpyCnn(NumpyTraining):
    """The training of a cell of layout `cnn` from given initial parameters."""

    def __init__(self, cell: Cell, initial: Mapping[str, Array], data: Data) -> None:
        super().__init__(cell, initial, data)
        self.evaluated: tuple[int, Evaluation] | None = None  # of the training set, after so many steps
        self.rows, self.columns = data.x_train.shape[2:]
        mean, std = np.array(data.mean)[:, None], np.array(data.std)[:, None]
        self.x_train, self.x_val = (
            (x.numpy().reshape(*x.shape[:2], -1) / 255 - mean) / std for x in (data.x_train, data.x_val)
        )

    def train_epoch(self, epoch: int) -> Epoch:
        n_train, loss, right = len(self.x_train), 0.0, 0
        for number, points in enumerate(self.batches(epoch)):
            batch = self.batch(points, epoch, number)
            self.adam(batch.gradients)
            loss += batch.task * len(points)
            right += batch.right
        val_logits, _ = self.forward(self.x_val, None, training=False)
        val_loss, _, val_right = self.task(val_logits, self.y_val)
        whole = self.evaluate_training_set()
        return Epoch(right / n_train, val_right / len(self.y_val), loss / n_train, val_loss, whole.penalty)

    def batches(self, epoch: int = 0) -> Iterator[Points]:
        """The points sorted by their draws, in batches of which the last may be smaller."""
        n_train = len(self.x_train)
        size = self.cell.optimizer.batch_size or n_train
        order = np.arange(n_train)
        if self.cell.optimizer.shuffle and size < n_train:
            drawn = random_bits(Stream.BATCH_ORDER, self.cell.seed, epoch, [0], order, 1)[0, :, 0]
            order = np.array(sorted(range(n_train), key=lambda point: (drawn[point], point)))
        for first in range(0, n_train, size):
            yield order[first : first + size]

    def full_batch(self, epoch: int) -> Batch:
        return self.batch(np.arange(len(self.x_train)), epoch)

    def batch(self, points: Points, epoch: int, number: int = 0) -> Batch:
        """Losses and gradients of an epoch's batch of this number in training mode; both count from 0."""
        factors = self.dropout(points, epoch)
        logits, layers = self.forward(self.x_train[points], factors, training=True)
        task, task_slope, right = self.task(logits, self.y_train[points])
        penalty, slopes = self.penalty(self.constrained(logits, layers), self.tie_draws(epoch, number, points))
        logit_slope = task_slope if self.cell.task_loss else np.zeros_like(logits)
        if self.cell.penalty.layers == "all" and slopes:
            logit_slope = logit_slope + self.weight * slopes.pop()[:, :, 0]
        gradients = self.backward(layers, factors, logit_slope, [self.weight * slope for slope in slopes])
        return Batch(task, penalty, right, gradients)

    def total_loss(self) -> float:
        """Of the first step's full batch, without gradients."""
        points = np.arange(len(self.x_train))
        logits, layers = self.forward(self.x_train, self.dropout(points, 0), training=True)
        task, _, _ = self.task(logits, self.y_train)
        return self.cell.task_loss * task + self.weight * self.penalty(self.constrained(logits, layers))[0]

    def task(self, logits: Array, y: Points) -> tuple[float, Array, int]:
        """Mean cross-entropy, its slope in the logits, and right predictions; two classes have one logit."""
        if logits.shape[1] == 1:
            logit = logits[:, 0]
            return binary_cross_entropy(logit, y), ((sigmoid(logit) - y) / len(y))[:, None], count_right(logit, y)
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        is_class = np.eye(logits.shape[1])[y]
        right = int((logits.argmax(axis=1) == y).sum())
        return float(-(log_p * is_class).sum() / len(y)), (np.exp(log_p) - is_class) / len(y), right

    def dropout(self, points: Points, epoch: int) -> list[Array] | None:
        """Factors for the input of every layer: p(t) = max(0, p₀·(1 − t/T)), unit = flat (channel, position) index."""
        spec = self.cell.dropout
        p = max(0.0, spec.rate * (1 - epoch / spec.anneal_epochs))
        if p == 0:
            return None
        factors = []
        for layer in range(self.cell.depth):
            shape = (self.cell.width if layer else self.x_train.shape[1], self.rows * self.columns)
            drawn = random_bits(Stream.DROPOUT, self.cell.seed, epoch, [layer], points, math.prod(shape))[0]
            kept = drawn.astype(np.float64) >= math.floor(p * 2**32)
            factors.append(np.where(kept, 1 / (1 - p), 0.0).reshape(len(points), *shape))
        return factors

    def forward(self, x: Array, factors: list[Array] | None, *, training: bool) -> tuple[Array, list[Layer]]:
        """Logits (points, classes) and the hidden layers; in training mode batch norm moves its running averages."""
        activation, layers = x, []
        for index in range(self.cell.depth):
            entering = activation if factors is None else activation * factors[index]
            weight, bias = self.parameters[f"hidden.{index}.weight"], self.parameters[f"hidden.{index}.bias"]
            affine = np.zeros((len(x), len(bias), x.shape[2])) + bias[None, :, None]
            for (row, column), seen in self.seen(entering):
                affine += weight[:, :, row, column] @ seen
            layer = Layer(entering, affine, affine, np.ones(len(bias)), affine)
            if self.cell.network.norm == "batch":
                self.normalise(layer, index, training)
            layers.append(layer)
            activation = np.maximum(layer.pre_activation, 0.0)
            self.note(np.abs(layer.pre_activation[layer.pre_activation != 0]))
        entering = activation.reshape(len(x), -1)
        if self.cell.network.head == "max_avg_pool":
            entering = np.concatenate([activation.mean(axis=2), activation.max(axis=2)], axis=1)
        return entering @ self.parameters["output.weight"].T + self.parameters["output.bias"], layers

    def seen(self, h: Array) -> Iterator[tuple[tuple[int, int], Array]]:
        """Of every tap (row, column) of a filter: what it sees at each position, zero beyond the image's border."""
        kernel = self.cell.network.kernel
        border = (kernel - 1) // 2
        image = h.reshape(*h.shape[:2], self.rows, self.columns)
        framed = np.zeros((*h.shape[:2], self.rows + 2 * border, self.columns + 2 * border))
        framed[:, :, border : border + self.rows, border : border + self.columns] = image
        for row, column in np.ndindex(kernel, kernel):
            yield (row, column), framed[:, :, row : row + self.rows, column : column + self.columns].reshape(h.shape)

    def unseen(self, slopes: Mapping[tuple[int, int], Array]) -> Array:
        """The slopes in a layer's input from those in what every tap sees: the way back through `seen`."""
        kernel = self.cell.network.kernel
        border = (kernel - 1) // 2
        points, channels, _ = slopes[0, 0].shape
        framed = np.zeros((points, channels, self.rows + 2 * border, self.columns + 2 * border))
        for (row, column), slope in slopes.items():
            image = slope.reshape(points, channels, self.rows, self.columns)
            framed[:, :, row : row + self.rows, column : column + self.columns] += image
        inner = framed[:, :, border : border + self.rows, border : border + self.columns]
        return inner.reshape(points, channels, -1)

    def backward(
        self, layers: list[Layer], factors: list[Array] | None, logit_slope: Array, penalty_slopes: list[Array]
    ) -> Named:
        """Gradients of the total loss, from its slopes in the logits and in every hidden pre-activation."""
        last = np.maximum(layers[-1].pre_activation, 0.0)
        leaving_slope = logit_slope @ self.parameters["output.weight"]
        if self.cell.network.head == "max_avg_pool":
            leaving = np.concatenate([last.mean(axis=2), last.max(axis=2)], axis=1)
            by_average, by_maximum = np.split(leaving_slope, 2, axis=1)
            slope = by_maximum[:, :, None] * self.first_maximum(last) + by_average[:, :, None] / last.shape[2]
        else:
            leaving, slope = last.reshape(len(last), -1), leaving_slope.reshape(last.shape)
        gradients: Named = {"output.weight": logit_slope.T @ leaving, "output.bias": logit_slope.sum(axis=0)}
        for index in reversed(range(self.cell.depth)):
            layer = layers[index]
            slope = slope * (layer.pre_activation > 0)
            if penalty_slopes:
                slope = slope + penalty_slopes[index]
            if self.cell.network.norm == "batch":
                gradients[f"norms.{index}.weight"] = (slope * layer.normalised).sum(axis=(0, 2))
                gradients[f"norms.{index}.bias"] = slope.sum(axis=(0, 2))
                slope = slope * self.parameters[f"norms.{index}.weight"][None, :, None]
                through_mean = slope.mean(axis=(0, 2), keepdims=True)
                through_variance = layer.normalised * (slope * layer.normalised).mean(axis=(0, 2), keepdims=True)
                slope = (slope - through_mean - through_variance) / layer.deviation[None, :, None]
            weight = self.parameters[f"hidden.{index}.weight"]
            gradients[f"hidden.{index}.weight"] = np.zeros_like(weight)
            for (row, column), seen in self.seen(layer.entering):
                by_point = slope @ seen.transpose(0, 2, 1)
                gradients[f"hidden.{index}.weight"][:, :, row, column] = by_point.sum(axis=0)
            gradients[f"hidden.{index}.bias"] = slope.sum(axis=(0, 2))
            taps = np.ndindex(weight.shape[2:])
            slope = self.unseen({(row, column): weight[:, :, row, column].T @ slope for row, column in taps})
            slope = slope if factors is None else slope * factors[index]
        return gradients

    def first_maximum(self, activation: Array) -> Array:
        """1 where a channel's global maximum is; where several positive entries share it, nothing says which."""
        most = activation.max(axis=2, keepdims=True)
        tied = activation == most
        self.note(np.where(tied.sum(axis=2) > 1, 0.0, np.inf)[most[:, :, 0] > 0])
        self.note((most[:, :, 0] - np.where(tied, -np.inf, activation).max(axis=2))[most[:, :, 0] > 0])
        first = np.zeros_like(activation)
        np.put_along_axis(first, tied.argmax(axis=2)[:, :, None], 1.0, axis=2)
        return first

    def constrained(self, logits: Array, layers: list[Layer]) -> list[Array]:
        """What the penalty sees: the hidden pre-activations, and the logits where all layers are constrained."""
        hidden = [layer.pre_activation for layer in layers]
        return [*hidden, logits[:, :, None]] if self.cell.penalty.layers == "all" else hidden

    def tie_draws(self, epoch: int, number: int, points: Points) -> TieDraws:
        """The draws of a layer's constraints: a point's by (point, position), others by (batch, index)."""

        def drawn(constraint: tuple[str, str], layer: int, count: int) -> NDArray[np.uint32]:
            stream, seed = TIE_STREAMS[constraint], self.cell.seed
            if constraint[0] == "P":
                return random_bits(stream, seed, epoch, [layer], points, count // len(points)).reshape(-1)
            return random_bits(stream, seed, epoch, [layer], [number], count).reshape(-1)

        return drawn

    def penalty(self, layers: list[Array], drawn: TieDraws | None = None) -> tuple[float, list[Array]]:
        """The aggregate over all pairs v = ρ·max(0, above − max g) + (1−ρ)·max(0, min g − below), and its slopes."""
        spec = self.cell.penalty
        if spec.kind == "none":
            return 0.0, []
        values, routes = [], []
        for index, g in enumerate(layers):
            layer_weight = 1.0 if spec.layer_weights is None else spec.layer_weights[index]
            for kind in spec.kind:
                entries = constraint_entries(g.shape, kind, spec.scope)
                v, route = np.zeros(len(entries)), np.zeros(entries.shape)
                for side, share in (("above", spec.balance), ("below", 1 - spec.balance)):
                    sign, margin = (1, spec.margin_above) if side == "above" else (-1, spec.margin_below)
                    candidates = sign * g.reshape(-1)[entries]
                    most = candidates.max(axis=1)
                    deficit = sign * margin - most
                    self.note(np.abs(deficit[deficit != 0]))
                    violated = deficit > 0
                    v += share * np.where(violated, deficit, 0.0)
                    if drawn is not None:
                        numbers = drawn((kind, side), index, len(entries)) if spec.ties == "random" else None
                        route -= sign * share * violated[:, None] * self.shares(candidates, violated, numbers)
                values.append(layer_weight * v)
                routes.append((index, entries, layer_weight * route))
        v = np.concatenate(values)
        norm = math.sqrt(float((v**2).sum()))
        aggregate, per_pair = {
            "sum": (v.sum(), np.ones_like(v)),
            "mean": (v.sum() / len(v), np.full_like(v, 1 / len(v))),
            "sum_sq": ((v**2).sum(), 2 * v),
            "l2": (norm, v / norm if norm > 0 else np.zeros_like(v)),
        }[spec.aggregate]
        slopes = [np.zeros_like(g) for g in layers]
        start = 0
        for index, entries, route in routes:
            pair_slopes = per_pair[start : start + len(entries)]
            slopes[index].reshape(-1)[entries] += pair_slopes[:, None] * route  # no entry stands twice in one kind
            start += len(entries)
        return float(aggregate), slopes

    def shares(self, candidates: Array, violated: NDArray[np.bool_], numbers: NDArray[np.uint32] | None) -> Array:
        """Each entry's share of its row's maximum: equal parts, all to the first, or all to the ⌊draw·tied/2³²⌋-th."""
        most = candidates.max(axis=1, keepdims=True)
        tied = candidates == most
        self.note((most[:, 0] - np.where(tied, -np.inf, candidates).max(axis=1))[violated])
        if self.cell.penalty.ties == "shared":
            return tied / tied.sum(axis=1, keepdims=True)
        count = tied.cumsum(axis=1)
        place = 0 if numbers is None else numbers.astype(np.int64)[:, None] * count[:, -1:] // 2**32
        return (tied & (count == place + 1)).astype(np.float64)

    def note(self, distances: Array) -> None:
        """Remember the smallest distance of what another rounding could turn round."""
        self.closest = min(self.closest, float(distances.min(initial=np.inf)))

    def evaluate_training_set(self) -> Evaluation:
        if self.evaluated is None or self.evaluated[0] != self.steps:
            self.evaluated = self.steps, self.evaluate_anew()
        return self.evaluated[1]

    def evaluate_anew(self) -> Evaluation:
        closest = self.closest
        logits, layers = self.forward(self.x_train, None, training=False)
        penalty, _ = self.penalty(self.constrained(logits, layers))
        self.closest = closest
        census: dict[str, list[float]] = {name: [] for name in CENSUS}
        census |= activity([layer.pre_activation for layer in layers])
        for layer in layers:
            active = layer.pre_activation > 0
            census["dead_units"].append(float(np.mean(~active.any(axis=(0, 2)))))
            census["linear_units"].append(float(np.mean(active.all(axis=(0, 2)))))
            census["dead_points"].append(float(np.mean(~active.any(axis=(1, 2)))))
            census["linear_points"].append(float(np.mean(active.all(axis=(1, 2)))))
        dead = np.any([~(layer.pre_activation > 0).any(axis=(1, 2)) for layer in layers], axis=0)
        return Evaluation(penalty, census, float(dead.mean()))
