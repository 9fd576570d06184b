"""What a command finds itself in."""

import os

from jumpstart_exp.settings import SettingError


def check_surroundings() -> None:
    """Refuse a working directory that is gone, and forget a notebook's MPLBACKEND, which need not be installed here.

    Raises:
        SettingError: the working directory is gone; libraries would end the process without a word that helps.
    """
    os.environ.pop("MPLBACKEND", None)
    try:
        os.getcwd()  # noqa: PTH109 - nothing else is asked
    except OSError as error:
        raise SettingError(f"the working directory is gone ({error.strerror}): cd into one that is there") from None
