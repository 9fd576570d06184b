"""The benchmark of penalty and census on models of somebody else's: what it trains, and what a quick run writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bench_library import MODELS, PENALTIES, WAYS, Model, Stepper

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_library.py"
LAYERS = {"ResNet-18, CIFAR-10": 17, "transformer 4×128, 64 tokens": 4}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_penalty_is_of_every_layer_and_pulls_on_the_weights(model: Model) -> None:
    plain, trained = Stepper(model, "plain", quick=True), Stepper(model, "default", quick=True)
    for stepper in (plain, trained):
        stepper.step()
    seen: list[torch.Tensor] = []
    for module in plain.model.modules():
        if isinstance(module, (torch.nn.ReLU, torch.nn.GELU)):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().double()))
    plain.model(plain.x)
    assert len(seen) == LAYERS[model.name]
    expected = 0.0
    for g in seen:
        g = (g.movedim(-1, 1) if model.has_channels_last else g).flatten(2)
        for axes in ((0, 2), (1, 2)):
            expected += float(0.5 * ((1 - g.amax(axes)).relu() + (1 + g.amin(axes)).relu()).sum())
    trained.model(trained.x)
    assert trained.penalty is not None
    assert trained.penalty().item() == pytest.approx(expected, rel=1e-4)
    pairs = zip(plain.model.parameters(), trained.model.parameters(), strict=True)
    assert any(not torch.equal(one.grad, other.grad) for one, other in pairs)


@pytest.mark.soak
def test_a_quick_run_compares_all_ways(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--rounds", "2", "--threads", "1", "2", "--json", "bench.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [found["model"] for found in report["models"]] == [model.name for model in MODELS]
    for model, found in zip(MODELS, report["models"], strict=True):
        assert set(WAYS) >= {"plain", *PENALTIES}
        assert set(found["memory_bytes"]) == set(found["memory_times_plain"]) == {"plain", "default"}
        assert min(found["memory_bytes"].values()) > 0 and found["memory_times_plain"]["plain"] == 1
        for threads in ("1", "2"):
            seconds = found["seconds"][threads]
            assert set(seconds) == set(WAYS)
            assert all(len(one["all"]) == 2 and one["fastest"] == min(one["all"]) > 0 for one in seconds.values())
            assert found["times_plain"][threads]["plain"] == 1
        assert model.name in done.stdout
    for words in ("plain", "default", "position, random", "census"):
        assert words in done.stdout
