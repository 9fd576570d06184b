"""The Lightning callback trains as a plain loop does that adds the penalty itself."""

import copy
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from jumpstart_exp.data.image_files import torchvision_module

torchvision_module("models")  # Lightning's metrics import it
import lightning.pytorch as lightning  # noqa: E402
from lightning.pytorch.plugins import MixedPrecision  # noqa: E402

from jumpstart_exp import SeparationPenalty  # noqa: E402
from jumpstart_exp.lightning import SeparationCallback  # noqa: E402
from jumpstart_exp.settings import SettingError  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:::lightning"),
]

WEIGHT = 0.01
SETTINGS = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
X = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(24, 1, generator=torch.Generator().manual_seed(1))


class Module(lightning.LightningModule):
    """Its training step calls parts of it and functions: what is not seen without `one_pass`."""

    def __init__(self, *, optimizer="sgd"):
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second, self.last = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 1)
        self.optimizer = optimizer
        self.gradients = []
        self.outputs = []

    def loss_and_pre_activations(self, batch):
        x, y = batch
        first = self.first(x)
        second = self.second(functional.relu(first))
        return functional.mse_loss(self.last(torch.relu(second)), y), (first, second)

    def forward(self, x):
        return self.last(functional.relu(self.second(functional.relu(self.first(x)))))

    def training_step(self, batch, batch_idx):
        return self.loss_and_pre_activations(batch)[0]

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append([p.grad.clone() for p in self.parameters() if p.grad is not None])

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.outputs.append(outputs)

    def configure_optimizers(self):
        if self.optimizer == "lbfgs":
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)
        return torch.optim.SGD(self.parameters(), lr=0.1)


class InDict(Module):
    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx), "other": 7}


def separation(pre_activations):
    """Sep-UP by its formula, CPAIOR (3)–(12)."""
    total = 0.0
    for g in pre_activations:
        for axis in (0, 1):
            above, below = 1 - g.float().amax(axis), 1 + g.float().amin(axis)
            total = total + 0.5 * (above.clamp(min=0) + below.clamp(min=0)).sum()
    return total


def plain_loop(module, steps, *, accumulate=1, autocast=None, weight=WEIGHT, batch_size=6):
    batches = list(zip(X.split(batch_size), Y.split(batch_size), strict=True))
    optimizer = module.configure_optimizers()
    for step in range(steps):

        def closure(step=step):
            optimizer.zero_grad()
            for at in range(accumulate):
                batch = batches[(step * accumulate + at) % len(batches)]
                with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None, cache_enabled=False):
                    loss, pre_activations = module.loss_and_pre_activations(batch)
                total = (loss + weight * separation(pre_activations)) / accumulate
                total.backward()
            return total

        if module.optimizer != "lbfgs":
            closure()
            module.on_before_optimizer_step(optimizer)
        optimizer.step(closure if module.optimizer == "lbfgs" else None)
    return module


def train(module, callbacks, steps=3, *, batch_size=6, **settings):
    trainer = lightning.Trainer(
        **{**SETTINGS, "accelerator": "cpu", "devices": 1, "max_steps": steps, **settings}, callbacks=callbacks
    )
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=batch_size), DataLoader(TensorDataset(X, Y), 6))
    return trainer


def assert_trained_alike(found, expected, **tolerance):
    assert len(found.gradients) == len(expected.gradients)
    for one, other in zip(found.gradients, expected.gradients, strict=True):
        torch.testing.assert_close(one, other, **tolerance)
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), **tolerance)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", [Module, InDict])
def test_gradients_are_those_of_a_plain_loop(kind, accumulate):
    found = kind()
    trainer = train(found, [SeparationCallback("UP", WEIGHT)], accumulate_grad_batches=accumulate)
    assert_trained_alike(found, plain_loop(Module(), 3, accumulate=accumulate))
    without = plain_loop(Module(), 3, accumulate=accumulate, weight=0)
    assert not torch.allclose(found.first.weight, without.first.weight)
    assert "training_step" not in vars(trainer.strategy)
    assert kind is Module or all(outputs["other"] == 7 for outputs in found.outputs)


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_mixed_precision(scale):
    found = Module()
    if scale is None:
        train(found, [SeparationCallback("UP", WEIGHT)], precision="bf16-mixed")
        dtype = torch.bfloat16
    else:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        train(found, [SeparationCallback("UP", WEIGHT)], plugins=[plugin])
        assert scaler.get_scale() == scale
        dtype = torch.float16
    # float16: scaled gradients keep bits that the plain loop's lose
    assert_trained_alike(found, plain_loop(Module(), 3, autocast=dtype), rtol=0, atol=0 if scale is None else 2e-4)
    assert found.gradients[0][0].abs().max() < 10


def test_every_closure_call_of_lbfgs_has_its_penalty():
    found = Module(optimizer="lbfgs")
    train(found, [SeparationCallback("UP", WEIGHT)], batch_size=24, steps=2)
    expected = plain_loop(Module(optimizer="lbfgs"), 2, batch_size=24)
    torch.testing.assert_close(found.state_dict(), expected.state_dict())


def test_ddp_has_the_penalty_of_the_processs_batch():
    found = Module()
    try:
        train(found, [SeparationCallback("UP", WEIGHT)], strategy="ddp", use_distributed_sampler=False)
    finally:
        torch.distributed.destroy_process_group()
    assert_trained_alike(found, plain_loop(Module(), 3))


def test_it_is_logged_with_a_census_of_every_nth_batch():
    class Reader(lightning.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, *_):
            self.seen.append(dict(trainer.callback_metrics))

    found, reader = Module(), Reader()
    with torch.no_grad():
        found.second.bias.copy_(torch.tensor([-100.0, -100.0, -100.0, 100.0]))  # three of nine units are dead
        expected = separation(found.loss_and_pre_activations((X[:6], Y[:6]))[1])
    train(found, [SeparationCallback("UP", WEIGHT, census_every=2), reader], steps=2)
    torch.testing.assert_close(reader.seen[0]["separation_penalty"], expected)
    shares = {name: float(value) for name, value in reader.seen[0].items() if name.startswith("dead")}
    assert shares == pytest.approx({"dead_units": 3 / 9, "dead_units/relu": 0.0, "dead_units/relu#2": 0.75})
    silent = Module()
    assert not train(silent, [SeparationCallback("UP", WEIGHT, log=False)]).callback_metrics


def test_validation_is_not_recorded(monkeypatch):
    seen = []
    own = SeparationPenalty.layer_extremes

    def note(*args, **named):
        seen.append(len(args[1]))
        return own(*args, **named)

    monkeypatch.setattr(SeparationPenalty, "layer_extremes", note)
    train(Module(), [SeparationCallback("UP")], steps=4, num_sanity_val_steps=2, val_check_interval=2)
    assert seen == [6] * 8  # four steps of two layers


def test_a_skipped_step_and_one_that_fails_leave_nothing_behind():
    class Skips(Module):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    class Fails(Module):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            if batch_idx == 1:
                raise ZeroDivisionError
            return self(batch[0]).sum()

    found = Skips()
    train(found, [SeparationCallback("UP", WEIGHT)], steps=-1, limit_train_batches=3, max_epochs=1)
    assert not torch.equal(found.first.weight, Module().first.weight)
    module, callback = Fails(), SeparationCallback("UP")
    with pytest.raises(ZeroDivisionError):
        train(module, [callback])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    copied = copy.deepcopy(module)
    assert copied.state_dict().keys() == Module().state_dict().keys() and callback.state_dict() == {}
    train(Module(), [callback])  # the callback can be used again


class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


@pytest.mark.parametrize(
    ("module", "callbacks", "message"),
    [
        (Manual, [SeparationCallback()], "automatic_optimization=False is not allowed"),
        (lambda: torch.compile(Module(), backend="eager"), [SeparationCallback()], "compiled"),
        (Module, [SeparationCallback(), SeparationCallback("U")], "one SeparationCallback"),
        (Module, [SeparationCallback(layers="nowhere")], "nowhere"),
        (Module, [SeparationCallback(layers=nn.Linear, census_every=1)], "census_every"),
    ],
)
def test_what_is_refused_when_training_begins(module, callbacks, message):
    with pytest.raises(SettingError, match=message):
        train(module(), callbacks)


def test_other_strategies_are_refused():
    module = SimpleNamespace(automatic_optimization=True, _compiler_ctx=None)
    fsdp = object.__new__(lightning.strategies.FSDPStrategy)
    with pytest.raises(SettingError, match="strategy='FSDPStrategy' is not allowed"):
        SeparationCallback().on_fit_start(SimpleNamespace(strategy=fsdp), module)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1}, "weight=-1 is not allowed"),
        ({"weight": float("nan")}, "weight=nan is not allowed"),
        ({"census_every": 0}, "census_every=0 is not allowed"),
        ({"kind": "X"}, "kind='X' is not allowed"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        SeparationCallback(**settings)


def test_without_lightning_the_import_says_what_to_install():
    code = "import sys; sys.modules['lightning'] = None; import jumpstart_exp.lightning"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "ImportError: Lightning is missing: pip install 'jumpstart-exp[lightning]'"
