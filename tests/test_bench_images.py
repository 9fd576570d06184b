"""The benchmark of the penalty's cost on images: what a quick run writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bench_images import NETWORKS, Stepper

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_images.py"


@pytest.mark.soak
def test_a_quick_run_compares_all_ways_and_their_gradients(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--rounds", "2", "--device", "cpu", "--json", "bench.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "bench.json").read_text())["networks"]
    positions = {"positions", "positions single", "positions random"}
    ways = {"without", "satisfied", "active", *positions, "reference"}
    assert set(found["seconds"]) == set(found["memory_bytes"]) == ways
    assert all(len(one["all"]) == 2 and one["fastest"] == min(one["all"]) > 0 for one in found["seconds"].values())
    assert found["times_without"]["without"] == found["memory_times_without"]["without"] == 1
    assert found["memory_bytes"]["reference"] > found["memory_bytes"]["without"], "it keeps every pre-activation"
    assert set(found["gradient_deviation"]) == {"satisfied", "active", *positions}
    assert max(found["gradient_deviation"].values()) < 1e-9
    rates = found["steps_a_second"]
    assert rates["a process a core"] > 0 and rates["one process on all cores"] > 0
    for words in ("without", "satisfied", "active", "reference", "a process a core"):
        assert words in done.stdout


@pytest.mark.soak
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_satisfied_is_satisfied_and_active_is_active(network) -> None:
    penalties = {way: Stepper(network, way, "cpu").losses()[1].item() for way in ("satisfied", "active")}
    constraints = network.depth * (network.width + network.batch)
    assert penalties["satisfied"] == 0
    assert penalties["active"] == pytest.approx(constraints * 1e6, rel=1e-3), "a pair of deficits of about 1e6 each"
