"""What a newcomer's first command shows."""

import pytest

from jumpstart_exp.store import Store


@pytest.mark.soak
def test_the_quick_study_shows_the_effect(command, tmp_path):
    done = command("-m", "+experiment=quick", timeout=900, fresh=True)
    assert done.returncode == 0, done.stderr
    rows = Store(tmp_path / "results").cells()
    assert set(rows["method"]) == {"relu", "relu_bn", "sep_up"} and rows["seed"].nunique() == 3
    mean = rows.pivot_table(index=["depth", "width"], columns="method", values="train_acc_best", aggfunc="mean")
    shown = mean[(mean["relu"] < 0.6) & (mean["sep_up"] > 0.95)]
    assert len(shown) >= 1, mean
    report = command("only=heatmaps", module="jumpstart_exp.report", fresh=True)
    assert report.returncode == 0, report.stderr
    assert sorted(path.suffix for path in (tmp_path / "results" / "figures").iterdir()) == [".pdf"] * 2 + [".png"] * 2
    again = command("-m", "+experiment=quick")
    assert again.returncode == 0 and "nothing to train" in again.stdout
