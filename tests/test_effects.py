import pytest

from jumpstart_exp import grid
from jumpstart_exp.config.composition import compose_grid
from jumpstart_exp.config.effects import without_effect


@pytest.mark.parametrize(
    ("overrides", "idle"),
    [
        (["network.leaky_slope=0.3"], ["network.leaky_slope"]),
        (["optimizer.momentum=0.9", "network.skip_scale=zero"], ["optimizer.momentum", "network.skip_scale"]),
        (["network.skip_every=5", "depth=3"], ["network.skip_every"]),
        (["network.skip_every=2", "depth=2,3"], []),
        (["method=relu,leaky_relu", "network.leaky_slope=0.1,0.2"], []),
        (["method=relu", "penalty.weight=1e-4,1e-3"], ["penalty.weight"]),
        (["method=relu,sep_up", "penalty.weight=1e-3"], []),
        (["penalty.weight=0"], []),
        (["depth=10", "network.widths=[3,5]", "seed=1"], ["depth"]),
        (["network.leaky_slope=0.01", "dataset=moons", "engine=eager", "optimizer=sgd"], []),
    ],
)
def test_what_was_asked_for_and_changes_nothing_is_found(overrides: list[str], idle: list[str]) -> None:
    cells, _ = compose_grid(overrides)
    assert without_effect([override.partition("=")[0] for override in overrides], cells) == idle


def test_it_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    grid(depth=[2, 3], network__leaky_slope=0.3, width=3)
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("warning: network.leaky_slope changes nothing here")
    assert said.count("warning") == 1
