"""How cells are run: settings that are no part of a cell."""

import re
from dataclasses import dataclass

from jumpstart_exp.folders import FOLDERS, named_folder
from jumpstart_exp.settings import check_settings, setting

_OWN_WORDS = ("dataset.path", "dataset.target")
"""Settings that are words of a user's own, with any letters."""


def is_own_word(name: str, value: str) -> bool:
    """Whether a value is a word of the user's own as it stands; one with a comma, bracket or quote Hydra reads."""
    return name in _OWN_WORDS and value not in ("", "null") and "${" not in value and not {*value} & {*",[]{}'\""}


def literal(text: str) -> str:
    """The text as a configuration's value: OmegaConf resolves nothing in it."""
    return text.replace("${", "\\${")


def text_override(name: str, text: str) -> str:
    """The override that sets a text, whatever letters it has: a folder's name, a filter."""
    # in Hydra's grammar a backslash is one, unless a quote follows
    quoted = re.sub(r"(\\*)('|$)", lambda at: 2 * at[1] + ("\\'" if at[2] else ""), text)
    return f"{name}='{quoted}'"


@dataclass(frozen=True)
class RunSettings:
    """How cells are run: nothing here changes what is computed; `engine` and `device` change how it is rounded."""

    engine: str = setting("auto", about="auto takes the fastest that can train the cells")
    device: str = setting("auto", choices=("auto", "cpu", "cuda"), about="auto: a GPU for what native cannot train")
    curve_every: int | None = setting(None, low=1, about="epochs between the rows of a curve; null: about 100 rows")
    checkpoint_minutes: float | None = setting(
        10.0, above=0, about="minutes between two checkpoints of a cell in training; null keeps none"
    )
    retry: str = setting("none", choices=("none", "failed"), about="failed trains failed cells again")
    plot: bool = setting(False, about="true draws the cell that is trained: losses, accuracy, census, decision surface")
    redraw: bool = setting(
        False, about="true trains a sweep in passes, the first seed first, and draws its heatmaps after each"
    )
    dry_run: bool = setting(False, about="true says what would be done and stops")
    where: str | None = setting(None, about="a filter of cells, as in depth*width<=1000; null trains all")
    max_cells: int | None = setting(None, low=1, about="cells that a sweep may have at most; null: any number")
    max_hours: float | None = setting(None, above=0, about="estimated hours of training at most; null: any number")
    fail_fast: bool = setting(False, about="true ends a sweep at the first cell that fails")
    results_dir: str = setting(FOLDERS["results_dir"], about="folder of the store and the figures")
    data_dir: str = setting(FOLDERS["data_dir"], about="folder of the datasets' files")
    download: bool = setting(True, about="true fetches a dataset's files where they are missing")

    def __post_init__(self) -> None:
        """Validate every field."""
        check_settings(self)
        for name in FOLDERS:
            object.__setattr__(self, name, str(named_folder(name, getattr(self, name))))
