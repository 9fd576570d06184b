"""A step as CUDA graphs."""

from collections.abc import Callable, Hashable
from typing import Any

import torch

_WARM_UP = 3


class Replayed:
    """A step as CUDA graphs: run as it is a few times on a stream of its own, then captured and replayed.

    What a step depends on lies in tensors on the device; what changes its list of calls is its kind, and each kind
    has a graph of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.warm_up: dict[Hashable, int] = {}
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.graphs: dict[Hashable, Any] = {}

    def __call__(self, step: Callable[[], None], kind: Hashable) -> None:
        """One step, always the same one of its kind."""
        with torch.cuda.device(self.device):
            left = self.warm_up.setdefault(kind, _WARM_UP)
            if left:
                self.warm_up[kind] = left - 1
                self.stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self.stream):
                    step()
                torch.cuda.current_stream().wait_stream(self.stream)
                return
            if kind not in self.graphs:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=self.stream):
                    step()
                self.graphs[kind] = graph
            self.graphs[kind].replay()
