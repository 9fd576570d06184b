"""The papers' figures and tables by name: what each shows, of which study, and under which names of the methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jumpstart_exp.config.entries import EntryError, read_entries
from jumpstart_exp.config.studies import study

Kind = Literal["heatmaps", "rows", "scatters", "summary", "performance", "transforms", "dynamics"]
"""How a figure is drawn; figures.yaml says what each is."""

Methods = tuple[tuple[str, str], ...]
"""Labels in a paper's order, each with the paper's name for it."""


@dataclass(frozen=True)
class Paper:
    """A paper, an entry of papers.yaml: `width` of its text in inches, and its names of the `methods`."""

    name: str
    width: float
    methods: Mapping[str, str]


@dataclass(frozen=True)
class PaperFigure:
    """One figure or table of a paper, an entry of figures.yaml, which says what the keys mean."""

    name: str
    paper: str
    place: str
    kind: Kind
    shows: Mapping[str, tuple[str, ...]]
    caption: str
    metrics: tuple[str, ...] = ("train_acc", "val_acc")
    columns: int = 3

    @property
    def studies(self) -> tuple[str, ...]:
        """The studies that it shows."""
        return tuple(self.shows)

    @property
    def methods(self) -> Methods:
        """The methods of the first study."""
        return self.methods_of(self.studies[0])

    def methods_of(self, study: str) -> Methods:
        """The methods that it shows of a study, under the paper's names."""
        return tuple((label, PAPERS[self.paper].methods[label]) for label in self.shows[study])

    @property
    def width(self) -> float:
        """Width of the paper's text in inches."""
        return PAPERS[self.paper].width

    @property
    def is_inside(self) -> bool:
        """Whether it shows the inside of trained networks, for which they are trained once more."""
        return self.kind in ("transforms", "dynamics")

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return self.kind in ("summary", "performance")


def read_figures(path: Path) -> Mapping[str, PaperFigure]:
    """The figures and tables of a file such as figures.yaml, by name.

    Raises:
        EntryError: an entry has a wrong key or value, a study, paper or method that there is not.
    """
    found = read_entries(path, PaperFigure)
    for figure in found:
        where = f"{path.name}: {figure.name}"
        if figure.paper not in PAPERS:
            raise EntryError(f"{where}: paper={figure.paper} is not allowed: one of {', '.join(PAPERS)}")
        for name, labels in figure.shows.items():
            try:
                study(name)
            except ValueError as error:
                raise EntryError(f"{where}: shows: {error}") from None
            for label in labels:
                if label not in PAPERS[figure.paper].methods:
                    raise EntryError(f"{where}: shows: {figure.paper} has no name of the method {label}")
    return {figure.name: figure for figure in found}


PAPERS = {paper.name: paper for paper in read_entries(Path(__file__).with_name("papers.yaml"), Paper)}
"""The papers by name."""

FIGURES = read_figures(Path(__file__).with_name("figures.yaml"))
"""Every figure and table by name, in the papers' order."""
