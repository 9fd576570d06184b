"""MOONS in torch.func: an ensemble of equal networks in one vmapped step, the second baseline of the benchmark.

    python scripts/vmap_torch.py --depth 50 --width 4 --networks 512 --steps 20

The network, its loss and its penalty are those of `plain_torch.py`; `functional_call` runs the module on stacked
parameters, `vmap(grad(…))` gives every network's gradient, and torch's Adam updates the stacked tensors.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F  # noqa: N812
from plain_torch import ADAMS, DIMENSIONS, LEARNING_RATE, PENALTIES, WEIGHT, Network, Way, moons
from torch import Tensor
from torch.func import functional_call, grad, vmap


class Ensemble:
    """Networks of one shape in training, each with its own Glorot weights."""

    def __init__(self, depth: int, width: int, method: str, networks: int, way: Way) -> None:
        self.x, self.y, _, _ = moons()
        self.dimensions, self.penalty = DIMENSIONS[method], PENALTIES[way.penalty]
        with torch.device("meta"):  # only its structure is needed
            self.network = Network(depth, width)
        self.parameters = {
            name: _glorot(networks, parameter.shape) for name, parameter in self.network.named_parameters()
        }
        self.gradient = vmap(grad(self.loss))
        self.adam = torch.optim.Adam(list(self.parameters.values()), lr=LEARNING_RATE, **ADAMS[way.adam])

    def loss(self, parameters: dict[str, Tensor]) -> Tensor:
        """One network's loss with these parameters."""
        logits, pre_activations = functional_call(self.network, parameters, (self.x,))
        loss = F.binary_cross_entropy_with_logits(logits, self.y)
        if self.dimensions:
            loss = loss + WEIGHT * self.penalty(pre_activations, self.dimensions)
        return loss

    def run(self, steps: int) -> float:
        """Take that many steps with all networks; the seconds of processor time that they took."""
        start = time.process_time()
        for _ in range(steps):
            gradients = self.gradient(self.parameters)
            for name, parameter in self.parameters.items():
                parameter.grad = gradients[name]
            self.adam.step()
        return time.process_time() - start


def _glorot(networks: int, shape: torch.Size) -> Tensor:
    if len(shape) == 1:
        return torch.zeros(networks, *shape)
    bound = math.sqrt(6 / sum(shape))
    return torch.empty(networks, *shape).uniform_(-bound, bound)


def main() -> None:
    """Train an ensemble; print its milliseconds a network and step."""
    parser = argparse.ArgumentParser(description="Train an ensemble of MLPs on MOONS with torch.func, on one thread.")
    parser.add_argument("--depth", type=int, default=10, help="hidden layers")
    parser.add_argument("--width", type=int, default=4, help="units a hidden layer")
    parser.add_argument("--networks", type=int, default=512, help="networks in the ensemble")
    parser.add_argument("--steps", type=int, default=20, help="full-batch steps of Adam")
    parser.add_argument("--method", choices=tuple(DIMENSIONS), default="sep_up")
    options = parser.parse_args()
    torch.set_num_threads(1)
    way = Way("layer by layer", "fused")
    ensemble = Ensemble(options.depth, options.width, options.method, options.networks, way)
    ensemble.run(1)
    seconds = ensemble.run(options.steps)
    print(f"{1000 * seconds / options.steps / options.networks:.4f} ms a network and step ({way})")


if __name__ == "__main__":
    main()
