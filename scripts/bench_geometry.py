"""How long the probes of a plane take, on one thread: gradient field (400 × 400 points) and regions at 50 layers.

    python scripts/bench_geometry.py

Time is that of the processor, so that waiting for it does not count; the fastest of a few rounds counts, because
whatever else the machine does only adds to it.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from jumpstart_exp.geometry.gradients import gradient_field
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.regions import linear_regions

DEPTH, WIDTH, ACROSS = 50, 4, 400


def network(activation: type[nn.Module]) -> nn.Sequential:
    """Layers of the papers' size with torch's initial weights, so that every gradient is there."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for layer in range(DEPTH):
        layers += [nn.Linear(WIDTH if layer else 2, WIDTH), activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1))


def by_sign(points: Tensor) -> Tensor:
    """Class 1 where the first input is above 0."""
    return (points[:, 0] > 0).long()


def field() -> None:
    """The gradient field of every layer (figure 12)."""
    found = gradient_field(network(nn.Tanh), Plane.square(3.0), by_sign, across=ACROSS)
    assert found.maximum.shape == (DEPTH + 1, ACROSS**2)


def regions(activation: Callable[[], nn.Module], bias: float) -> Callable[[], None]:
    """The linear regions on [−3, 3]², with He's initial weights and normal biases of that spread."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for layer in range(DEPTH):
        affine = nn.Linear(WIDTH if layer else 2, WIDTH)
        nn.init.kaiming_normal_(affine.weight)
        nn.init.normal_(affine.bias, 0, bias)
        layers += [affine, activation()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 1))

    def probe() -> None:
        assert linear_regions(model, Plane.square(3.0)).cell_count > 1

    return probe


def seconds(probe: Callable[[], None], rounds: int) -> float:
    """Of the processor, in the fastest of so many rounds, after one that does not count."""
    probe()
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        probe()
        taken.append(time.process_time() - started)
    return min(taken)


PROBES: dict[str, Callable[[], None]] = {
    f"gradient field, {DEPTH}×{WIDTH}, {ACROSS}×{ACROSS} points": field,
    **{
        f"linear regions, {DEPTH}×{WIDTH}, {name}": regions(activation, bias)
        for name, (activation, bias) in {
            "ReLU": (nn.ReLU, 0.3),
            "ReLU without biases": (nn.ReLU, 0.0),
            "leaky ReLU of slope 0.1": (partial(nn.LeakyReLU, 0.1), 0.3),
            "leaky ReLU without biases": (partial(nn.LeakyReLU, 0.1), 0.0),
            "absolute values": (partial(nn.LeakyReLU, -1.0), 0.1),
        }.items()
    },
}


def main() -> None:
    """Time every probe and print seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: seconds(probe, options.rounds) for name, probe in PROBES.items()}
    for name, taken in found.items():
        print(f"{name}: {taken:.2f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
