"""A step as CUDA graphs."""

from collections.abc import Callable
from typing import Any

import torch


class Replayed:
    """A step as CUDA graphs: run as it is a few times on a stream of its own, then captured and replayed.

    What the step depends on lies in tensors on the device; only whether there is dropout makes a graph of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.warm_up = device, 3
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.graphs: dict[bool, Any] = {}

    def __call__(self, step: Callable[[bool], None], dropout: bool) -> None:
        """One step, always the same one."""
        with torch.cuda.device(self.device):
            if self.warm_up:
                self.warm_up -= 1
                self.stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self.stream):
                    step(dropout)
                torch.cuda.current_stream().wait_stream(self.stream)
                return
            if dropout not in self.graphs:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=self.stream):
                    step(dropout)
                self.graphs[dropout] = graph
            self.graphs[dropout].replay()
