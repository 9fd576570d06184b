"""The colour maps that the package has as data."""

import numpy as np
import pytest
import seaborn.cm

from jumpstart_exp.report.figures import colour_maps


@pytest.mark.parametrize("name", ["rocket", "rocket_r", "mako"])
def test_they_are_seaborns(name) -> None:
    ours, theirs = (getattr(of, name)(np.arange(256)) for of in (colour_maps, seaborn.cm))
    np.testing.assert_array_equal(ours, theirs)
