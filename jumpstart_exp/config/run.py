"""How cells are run: settings that are no part of a cell."""

import os
from dataclasses import dataclass
from pathlib import Path

from jumpstart_exp.settings import (
    check_settings,
    setting,
    setting_error,
)


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
    dry_run: bool = setting(False, about="true says what would be done and stops")
    results_dir: str = setting("results", about="folder of the store and the figures")
    data_dir: str = setting("data", about="folder of the datasets' files")
    download: bool = setting(True, about="true fetches a dataset's files where they are missing")

    def __post_init__(self) -> None:
        """Validate every field."""
        check_settings(self)
        for name in ("results_dir", "data_dir"):
            object.__setattr__(self, name, str(named_folder(name, getattr(self, name))))


def named_folder(name: str, typed: str) -> Path:
    """The folder that a setting names, ~ expanded.

    Raises:
        SettingError: no file system takes such a name, or there is no such user.
    """
    refused = setting_error(name, typed, "the name of a folder")
    if not typed.strip() or "\0" in typed:
        raise refused
    try:
        os.fsencode(typed)
        return Path(typed).expanduser()
    except UnicodeEncodeError:
        raise refused from None
    except RuntimeError:
        raise setting_error(name, typed, "the name of a folder, and ~ one of a user who has a home") from None
