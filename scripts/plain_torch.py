"""MOONS in plain torch, one network at a time: the loop that the benchmark compares the engines with.

    python scripts/plain_torch.py --depth 50 --width 4 --steps 1000 --method sep_up

It stands alone: torch and scikit-learn, nothing of `jumpstart_exp`. A module, autograd, torch's Adam, the full batch,
one thread. At start-up it times the ways in which the same update can be asked of torch (the fused, the foreach and
the looped Adam) and takes the fastest; --penalty "all layers at once" is the penalty without a loop. Times are
processor time: what else the machine does is not counted.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

WEIGHT = 1e-4
"""λ, the penalty's weight in the loss."""

LEARNING_RATE = 0.01

DIMENSIONS = {"relu": (), "sep_u": (0,), "sep_p": (1,), "sep_up": (0, 1)}
"""Over which dimension of a pre-activation (points, units) a method's maxima and minima run."""

ADAMS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}
"""Torch's three implementations of Adam."""


class Network(nn.Module):
    """`depth` hidden layers of `width` ReLU units, then one logit; Glorot uniform weights, biases zero."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(width if layer else 2, width) for layer in range(depth))
        self.output = nn.Linear(width, 1)
        for layer in [*self.hidden, self.output]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (points,) and the pre-activation (points, width) of every hidden layer, for points (points, 2)."""
        pre_activations = []
        for layer in self.hidden:
            pre_activation = layer(x)
            pre_activations.append(pre_activation)
            x = torch.relu(pre_activation)
        return self.output(x).squeeze(1), pre_activations


def layer_by_layer(pre_activations: Sequence[Tensor], dimensions: Sequence[int]) -> Tensor:
    """Sum over layers, units and points of ½·max(0, 1 − max g) + ½·max(0, 1 + min g): as the formula is written.

    Of equal maxima, `Tensor.max` gives the gradient to the one with the lowest index.
    """
    deficits = []
    for pre_activation in pre_activations:
        for dimension in dimensions:
            deficits.append(torch.relu(1 - pre_activation.max(dimension).values).sum())
            deficits.append(torch.relu(1 + pre_activation.min(dimension).values).sum())
    return 0.5 * torch.stack(deficits).sum()


def all_layers_at_once(pre_activations: Sequence[Tensor], dimensions: Sequence[int]) -> Tensor:
    """The same sum with one call for all layers: they are equally wide, so their pre-activations can be stacked."""
    stacked = torch.stack(list(pre_activations))
    deficits = []
    for dimension in dimensions:
        deficits.append(torch.relu(1 - stacked.max(dimension + 1).values).sum())
        deficits.append(torch.relu(1 + stacked.min(dimension + 1).values).sum())
    return 0.5 * torch.stack(deficits).sum()


PENALTIES: dict[str, Callable[[Sequence[Tensor], Sequence[int]], Tensor]] = {
    "layer by layer": layer_by_layer,
    "all layers at once": all_layers_at_once,
}
"""Two ways to compute the same penalty."""


@dataclass(frozen=True)
class Way:
    """How the mathematics is asked of torch: names in `PENALTIES` and `ADAMS`."""

    penalty: str
    adam: str

    def __str__(self) -> str:
        return f"penalty {self.penalty}, {self.adam} Adam"


class Training:
    """One network in training."""

    def __init__(self, depth: int, width: int, method: str, way: Way) -> None:
        self.x, self.y, _, _ = moons()
        self.network = Network(depth, width)
        self.dimensions = DIMENSIONS[method]
        self.penalty = PENALTIES[way.penalty]
        self.adam = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE, **ADAMS[way.adam])

    def loss(self) -> Tensor:
        """Cross-entropy plus λ times the penalty."""
        logits, pre_activations = self.network(self.x)
        loss = F.binary_cross_entropy_with_logits(logits, self.y)
        if self.dimensions:
            loss = loss + WEIGHT * self.penalty(pre_activations, self.dimensions)
        return loss

    def run(self, steps: int) -> float:
        """Take that many steps; the seconds of processor time that they took."""
        start = time.process_time()
        for _ in range(steps):
            self.adam.zero_grad()
            self.loss().backward()
            self.adam.step()
        return time.process_time() - start


def moons() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The published points: 85 to train and 15 to validate, (points, 2) and (points,), float32."""
    x, y = make_moons(n_samples=100, shuffle=True, noise=None, random_state=10)
    x = x / (x.max() - x.min())
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.15, random_state=42)
    x_train, y_train, x_val, y_val = (
        torch.tensor(part, dtype=torch.float32) for part in (x_train, y_train, x_val, y_val)
    )
    return x_train, y_train, x_val, y_val


def fastest_way(
    depth: int, width: int, method: str, penalties: Sequence[str] = tuple(PENALTIES), seconds: float = 0.1
) -> Way:
    """The fastest way on this machine, each tried three times for about as many seconds in all."""
    best: dict[Way, float] = {}
    trainings = {
        way: Training(depth, width, method, way) for way in itertools.starmap(Way, itertools.product(penalties, ADAMS))
    }
    steps = {way: max(1, round(seconds / 3 / (training.run(3) / 3))) for way, training in trainings.items()}
    for _ in range(3):
        for way, training in trainings.items():
            took = training.run(steps[way]) / steps[way]
            best[way] = min(best.get(way, took), took)
    return min(best, key=lambda way: best[way])


def main() -> None:
    """Train one network; print its milliseconds a step and its last accuracies."""
    parser = argparse.ArgumentParser(description="Train one MLP on MOONS in plain torch, on one thread, and time it.")
    parser.add_argument("--depth", type=int, default=10, help="hidden layers")
    parser.add_argument("--width", type=int, default=4, help="units a hidden layer")
    parser.add_argument("--steps", type=int, default=1000, help="full-batch steps of Adam")
    parser.add_argument("--method", choices=tuple(DIMENSIONS), default="sep_up")
    parser.add_argument("--penalty", choices=tuple(PENALTIES), default="layer by layer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    way = fastest_way(options.depth, options.width, options.method, penalties=(options.penalty,))
    training = Training(options.depth, options.width, options.method, way)
    seconds = training.run(options.steps)
    with torch.no_grad():
        x_train, y_train, x_val, y_val = moons()
        right = [
            ((training.network(x)[0] > 0) == y).float().mean().item() for x, y in ((x_train, y_train), (x_val, y_val))
        ]
    print(f"fastest here: {way}")
    print(f"{1000 * seconds / options.steps:.3f} ms a step")
    print(f"accuracy after {options.steps} steps: training {right[0]:.4f}, validation {right[1]:.4f}")


if __name__ == "__main__":
    main()
