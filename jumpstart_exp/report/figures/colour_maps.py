"""Seaborn's colour maps, the papers' own, as data: seaborn itself takes two seconds to import."""

from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap

_COLOURS = np.loadtxt(Path(__file__).with_name("colour_maps.csv"), delimiter=",", skiprows=2)

rocket = ListedColormap(_COLOURS[:, :3].tolist(), "rocket")
"""From black over red to cream."""

rocket_r = ListedColormap(_COLOURS[::-1, :3].tolist(), "rocket_r")
"""The same from light to dark."""

mako = ListedColormap(_COLOURS[:, 3:].tolist(), "mako")
"""From black over blue to green."""
