"""What is known of one training: last and best values."""

from jumpstart_exp.result import METRICS, Metric


class Tracker:
    """Last and best value of one metric over the epochs."""

    def __init__(self, *, largest: bool) -> None:
        self.sign = 1 if largest else -1
        self.last: float | None = None
        self.best: float | None = None
        self.best_epoch: int | None = None

    def add(self, epoch: int, value: float) -> None:
        """The value after an epoch, counted from 1."""
        self.last = value
        if self.best is None or self.sign * value > self.sign * self.best:
            self.best, self.best_epoch = value, epoch

    def metric(self, *, keep_last: bool) -> Metric:
        """As results have it."""
        return Metric(self.last if keep_last else None, self.best, self.best_epoch)


def trackers() -> dict[str, Tracker]:
    """One for each of `METRICS`."""
    return {name: Tracker(largest=name.endswith("acc")) for name in METRICS}
