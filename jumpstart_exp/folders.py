"""Folders as they are named, on the command line or in Python."""

import os
import re
from pathlib import Path

from jumpstart_exp.settings import setting_error, shown, unseen_letter

FOLDERS = {"results_dir": "results", "data_dir": "data"}
"""Settings that name folders, and what they are where nothing is said."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def named_folder(name: str, typed: str | Path) -> Path:
    """The folder that a setting names, ~ expanded; it need not be there.

    Raises:
        SettingError: no file system takes such a name, there is no such user, it is an address, its link leads
            nowhere, or it is not there and its name has letters that nobody sees.
    """
    text = str(typed)
    if not text.strip() or "\0" in text:
        raise setting_error(name, text, "the name of a folder")
    if match := _ADDRESS.match(text):
        raise setting_error(name, text, f"a folder of this machine, and {match[0]} begins an address")
    try:
        os.fsencode(text)
        folder = Path(text).expanduser() if text.startswith("~") else Path(text)
    except UnicodeEncodeError:
        raise setting_error(name, text, "the name of a folder") from None
    except RuntimeError:
        raise setting_error(name, text, "the name of a folder, and ~ one of a user who has a home") from None
    for link in map(str, (folder, *folder.parents)):
        if os.path.islink(link) and not os.path.exists(link):  # noqa: PTH110, PTH114 - they raise nothing
            raise setting_error(name, text, f"a folder, and {shown(link)} is a link to what is not there")
    if (unseen := unseen_letter(text)) and not os.path.exists(folder):  # noqa: PTH110
        raise setting_error(name, text, f"the name of a folder, and {unseen}: delete it, or make the folder first")
    return folder.absolute() if str(folder).startswith("~") else folder  # ./~ is no home


def why_no_folder(folder: Path) -> str:
    """Why this is no folder that can be looked into; empty where it is one."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return "there is no such folder"
    except NotADirectoryError:
        return "it is no folder"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return ""
