"""`python -m jumpstart_exp.inspect`: train stored cells again, to keep their parameters on the way or to compare."""

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.console import complain, notes, output, redraws, set_up_output
from jumpstart_exp.folders import FOLDERS, why_no_folder
from jumpstart_exp.settings import SettingError, legible, nearest, setting_error

if TYPE_CHECKING:
    from jumpstart_exp.cell import Cell
    from jumpstart_exp.inspect.recorded_states import RecordedStates
    from jumpstart_exp.store import Store

USAGE = """\
Usage: python -m jumpstart_exp.inspect key=KEY[,KEY...] [epochs=0,10,100] [snapshots=100]
       python -m jumpstart_exp.inspect study=NAME [variant=paper|code] [seed=0[,1...]] [method=NAME[,NAME...]]
       python -m jumpstart_exp.inspect key=KEY probe=regions,gradients[,...]|all [epochs=0,10,100]
       python -m jumpstart_exp.inspect key=KEY verify=true

Trains stored cells again, keeps their parameters at chosen epochs in RESULTS_DIR/snapshots, and says whether
they became what is stored. `python -m jumpstart_exp.report` then draws their inside.
  probe        what the network does to the plane, and where its gradient lives, in RESULTS_DIR/probes:
               regions (linear regions, by layer), decisions (soft boundary and its width), gradients (how
               local they are, by layer), variation (how noisy those of batches are); all for every one.
               Of the kept states at `epochs`, the first and the last; what is not kept is trained again
  key          a stored key, or a beginning of one that no other has; several with commas
  study        the stored cells of a study (a file of conf/experiment) of one seed, or of several with commas
  epochs       epochs to keep, beside the first and the last one
  snapshots    without epochs: about so many, spread, and dense where the accuracy turns (100; of large
               networks fewer, for a file of 20 MB). The cell is then trained twice, once to see where.
  verify       true: nothing is kept; every value of the row and of its curve is compared with what is stored,
               to the bit, which takes the same engine, processor and versions
  results_dir  folder of the store (results); data_dir: folder of the datasets' files (data)
Cells that have such snapshots already are left out. Exit code: 0, 1 if a cell could not be trained again or
(verify=true) came out otherwise, 2 for a bad argument.
"""

_NAMES = ("key", "study", "variant", "seed", "method", "epochs", "snapshots", "probe", "verify", *FOLDERS)
_DEFAULTS = {"variant": "paper", "seed": "0", "verify": "false"}
PROBES = ("regions", "decisions", "gradients", "variation")
"""What `probe=` takes, the names in `inspect/probes.py`."""

_FEWEST, _MOST = 2, 100_000
_LEAST_LETTERS = 4


@dataclass(frozen=True)
class _Order:
    """What was asked for."""

    results_dir: Path
    data_dir: Path
    keys: tuple[str, ...]
    study: str
    variant: str
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    epochs: tuple[int, ...] | None
    count: int | None
    probes: tuple[str, ...]
    all_probes: bool
    verify: bool


def main(arguments: list[str]) -> int:
    """Train cells again; returns the exit code: 0, 1 if one could not be, 2 for a bad argument, 130 if stopped."""
    set_up_output()
    refusal = f"is not an argument: {', '.join(f'{known}=…' for known in _NAMES)} or --help"
    try:
        given = read_arguments(arguments, dict.fromkeys(_NAMES, ()), refusal)
        order = None if given is None else _order({**_DEFAULTS, **given.values}, *map(given.folder, FOLDERS))
    except SettingError as error:
        complain(str(error))
        return 2
    if order is None:
        print(USAGE, end="")
        return 0
    return _inspect(order)


def _order(values: Mapping[str, str], results_dir: Path, data_dir: Path) -> _Order:
    if ("key" in values) == ("study" in values):
        raise SettingError("key=KEY or study=NAME is needed, one of them: --help tells more")
    if values["variant"] not in ("paper", "code"):
        raise setting_error("variant", values["variant"], "one of paper, code")
    if values["verify"] not in ("true", "false"):
        raise setting_error("verify", values["verify"], "true or false")
    for name in ("epochs", "snapshots", "probe"):
        if name in values and values["verify"] == "true":
            raise SettingError(f"{name} and verify=true do not go together: nothing is kept of what is compared")
    if "snapshots" in values and "probe" in values:
        raise SettingError("snapshots and probe do not go together: probes are of the states at epochs=…")
    if "method" in values and "study" not in values:
        raise SettingError("method is for study=NAME: a key says its method")
    keys = tuple(dict.fromkeys(values["key"].split(","))) if "key" in values else ()
    for key in keys:
        if not re.fullmatch(rf"[0-9a-f]{{{_LEAST_LETTERS},32}}", key):
            raise setting_error("key", key, f"{_LEAST_LETTERS} to 32 digits 0-9 and a-f, the beginning of a stored key")
    epochs: tuple[int, ...] | None = () if "probe" in values else None
    if "epochs" in values:
        epochs = tuple(sorted({_integer("epochs", part, 0) for part in values["epochs"].split(",")}))
    return _Order(
        results_dir=results_dir,
        data_dir=data_dir,
        keys=keys,
        study=values.get("study", ""),
        variant=values["variant"],
        seeds=tuple(dict.fromkeys(_integer("seed", part, 0) for part in values["seed"].split(","))),
        methods=tuple(dict.fromkeys(values["method"].split(","))) if "method" in values else (),
        epochs=epochs,
        count=_integer("snapshots", values["snapshots"], _FEWEST, _MOST) if "snapshots" in values else None,
        probes=_probes(values["probe"]) if "probe" in values else (),
        all_probes=values.get("probe") == "all",
        verify=values["verify"] == "true",
    )


def _probes(text: str) -> tuple[str, ...]:
    """The probes that are asked for, each once."""
    if text == "all":
        return PROBES
    for name in text.split(","):
        if name not in PROBES:
            allowed = f"all, or some of {', '.join(PROBES)} with commas"
            raise SettingError(f"{setting_error('probe', name, allowed)}{nearest(name, PROBES)}")
    return tuple(dict.fromkeys(text.split(",")))


def _integer(name: str, text: str, low: int, high: int = 2**53) -> int:
    if not re.fullmatch(r"\d{1,16}", text, re.ASCII) or not low <= int(text) <= high:
        allowed = f"an integer of at least {low}" if high == 2**53 else f"an integer from {low} to {high}"
        raise setting_error(name, text, allowed)
    return int(text)


def _inspect(order: _Order) -> int:
    # imported here so that --help and a bad argument answer at once
    from jumpstart_exp.data.image_files import DataError
    from jumpstart_exp.inspect.probe_files import ProbesError
    from jumpstart_exp.inspect.recorded_states import RecordedStatesError
    from jumpstart_exp.inspect.retraining import InspectError, cell_of_row, epochs_of
    from jumpstart_exp.store import Store, StoreError

    if why := why_no_folder(order.results_dir):
        complain(f"results_dir={str(order.results_dir)!r}: {why}")
        return 1
    failed = 0
    try:
        store = Store(order.results_dir)
        keys = _stored_keys(store, order.keys) if order.keys else _study_keys(store, order)
        for key in keys:
            try:
                row = store.row(key)
                cell = cell_of_row(row)
                if order.verify:
                    failed += not _verify_cell(order, store, row, cell)
                    continue
                last = epochs_of(row, cell)
                if order.epochs and order.epochs[-1] > last:
                    raise setting_error("epochs", order.epochs[-1], f"at most {last}, the epochs of key={key}")
                _inspect_cell(order, row, cell)
                if order.probes:
                    failed += not _probe_cell(order, cell, last)
            except (DataError, InspectError, ProbesError, RecordedStatesError) as error:
                failed += 1
                complain(str(error))
    except StoreError as error:
        complain(str(error))
        return 1
    except SettingError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        notes().print(
            "stopped: what is compared until here stands above"
            if order.verify
            else "stopped: snapshots of the cells before are there, the same command goes on with the others"
        )
        return 130
    return 1 if failed else 0


@contextmanager
def _progress(title: str, epochs: int) -> Iterator[Callable[[float], None]]:
    """A bar over so many epochs; yields the function that takes the epochs done."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = notes()
    bar = Progress(
        *(TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
        console=console,
        transient=True,
        disable=not redraws(console),
    )
    with bar:
        task = bar.add_task(title, total=epochs)
        yield lambda done: bar.update(task, completed=done)


def _verify_cell(order: _Order, store: "Store", row: dict[str, Any], cell: "Cell") -> bool:
    """Compare a cell with what is stored, and say so; whether all of it is the same."""
    from jumpstart_exp.inspect.retraining import verify

    title, begun = f"{cell.title()} ({cell.key[:8]})", time.monotonic()
    curve = [{str(name): value for name, value in row.items()} for row in store.curves([cell.key]).to_dict("records")]
    with _progress(title, cell.optimizer.epochs) as on_progress:
        found = verify(row, cell, curve, order.data_dir, on_progress=on_progress)
    took, say = f"{time.monotonic() - begun:.1f} s", partial(output().print, markup=False)
    if found.is_same:
        of_curve = f"{found.rows} rows of its curve" if found.rows else "no curve is stored"
        say(f"{title}: the same to the bit: {found.values} values, {of_curve}; engine {found.engine}, {took}")
        return True
    unlike = (
        f"{len(found.differences)} of {found.values} values, {found.differing_rows} of {found.rows} rows of its curve"
    )
    say(f"{title}: not what is stored: {unlike} differ; engine {found.engine}, {took}")
    for difference in (*found.differences, found.first_difference):
        if difference:
            say(f"  {difference}")
    say(
        f"  {found.doubt}: only the distribution over seeds agrees across engines, processors and versions"
        if found.doubt
        else "  engine and versions are the row's: another processor rounds otherwise, on the same one it is a fault"
    )
    return False


def _inspect_cell(order: _Order, row: dict[str, Any], cell: "Cell") -> None:
    from jumpstart_exp.inspect.recorded_states import write_recorded_states
    from jumpstart_exp.inspect.retraining import epochs_of, passes, retrain, states_to_keep, trainer_of

    count, title = states_to_keep(cell, order.count), f"{cell.title()} ({cell.key[:8]})"
    kept = _kept(order, cell)
    if kept is not None and _has_all(order, kept, epochs_of(row, cell), count):
        if not order.probes:
            output().print(f"{title}: its snapshots are there already", markup=False)
        return
    epochs = order.epochs
    if kept is not None and order.probes and epochs is not None:
        epochs = tuple(sorted({*epochs, *kept.epochs.tolist()}))  # what is there stays
    if doubt := trainer_of(row, cell).doubt:
        notes().print(f"{title}: {doubt}", markup=False)
    begun, times = time.monotonic(), passes(epochs_of(row, cell), epochs, count)
    with _progress(title, times * cell.optimizer.epochs) as on_progress:
        snapshots = retrain(row, cell, order.data_dir, epochs=epochs, count=count, on_progress=on_progress)
    path = write_recorded_states(snapshots, order.results_dir)
    size = path.stat().st_size
    verdict = "the same values as stored"
    if snapshots.agreement:
        verdict = f"not what is stored: {snapshots.agreement}"
    states = f"{len(snapshots.epochs)} states of {cell.optimizer.epochs} epochs"
    seconds = f"{time.monotonic() - begun:.1f} s"
    output().print(f"{title}: {verdict}; {states}, {seconds}, {size / 1e6:.2f} MB in {path}", markup=False)


def _probe_cell(order: _Order, cell: "Cell", last: int) -> bool:
    """Apply the probes to the cell's states, and say what came out; whether all that were named could be applied."""
    from jumpstart_exp.inspect.probe_files import NO_PROBES, ProbesError, joined, probes_path, read_probes, write_probes
    from jumpstart_exp.inspect.probes import probe
    from jumpstart_exp.inspect.recorded_states import read_recorded_states

    title, begun = f"{cell.title()} ({cell.key[:8]})", time.monotonic()
    states = read_recorded_states(order.results_dir, cell.key)
    wanted = {0, last, *(order.epochs or ())}
    chosen = [state for state, epoch in enumerate(states.epochs.tolist()) if epoch in wanted]
    found, refused = [], dict[str, dict[int, str]]()
    work = [(state, name) for state in chosen for name in order.probes]
    with _progress(title, len(work)) as on_progress:
        for done, (state, name) in enumerate(work, 1):
            try:
                found.append(probe(states, state, name, order.data_dir))
            except SettingError as error:
                refused.setdefault(name, {})[int(states.epochs[state])] = str(error)
            on_progress(done)
    for name, whys in refused.items():
        where = "" if len(whys) == len(chosen) else f" at epoch {', '.join(map(str, whys))}"
        notes().print(f"{title}: no {name}{where}: {next(iter(whys.values()))}", markup=False)
    if not found:
        return order.all_probes
    try:
        before = read_probes(order.results_dir, cell.key)
    except ProbesError as error:
        before = NO_PROBES
        if os.path.lexists(probes_path(order.results_dir, cell.key)):
            notes().print(f"{error}; it is written anew", markup=False)
    path = write_probes(joined(before, found), order.results_dir, cell.key)
    names = ", ".join(name for name in order.probes if len(refused.get(name, ())) < len(chosen))
    seconds = f"{time.monotonic() - begun:.1f} s"
    output().print(f"{title}: {names} at {len(chosen)} epochs, {seconds}, in {path}", markup=False)
    return not refused or order.all_probes


def _kept(order: _Order, cell: "Cell") -> "RecordedStates | None":
    """The cell's states that are there; None for nothing that can be used."""
    from jumpstart_exp.inspect.recorded_states import RecordedStatesError, read_recorded_states, snapshot_path

    if not os.path.exists(snapshot_path(order.results_dir, cell.key)):  # noqa: PTH110 - it raises nothing
        return None
    try:
        return read_recorded_states(order.results_dir, cell.key)
    except RecordedStatesError as error:
        notes().print(f"{error}; it is written anew", markup=False)
        return None


def _has_all(order: _Order, found: "RecordedStates", last: int, count: int) -> bool:
    """Whether the cell's states are all that is asked for."""
    if order.epochs is None:
        return found.asked == count
    return {*order.epochs, *([0] if order.probes else []), last} <= set(found.epochs.tolist())


def _stored_keys(store: "Store", beginnings: Sequence[str]) -> list[str]:
    """The stored keys that begin so.

    Raises:
        SettingError: none does, or several do.
    """
    stored = store.cells(["key"])["key"].tolist()
    found: list[str] = []
    for beginning in beginnings:
        fitting = [key for key in stored if key.startswith(beginning)]
        if not fitting:
            raise setting_error("key", beginning, f"one of the {len(stored)} keys stored in {store.results_dir}")
        if len(fitting) > 1:
            some = ", ".join(fitting[:3]) + (", …" if len(fitting) > 3 else "")
            raise setting_error("key", beginning, f"the beginning of one key only, and {len(fitting)} begin so: {some}")
        found += fitting
    return list(dict.fromkeys(found))


def _study_keys(store: "Store", order: _Order) -> list[str]:
    """Keys of the stored cells of a study, of the seeds and methods asked for, in the study's order of the methods.

    Raises:
        SettingError: there is no such study, or the store has none of its cells.
    """
    from jumpstart_exp.config.studies import experiments

    names = experiments()
    if order.study not in names:
        unknown = setting_error("study", order.study, "one of " + ", ".join(names))
        raise SettingError(f"{unknown}{nearest(order.study, names)}")
    stored = store.stored()
    by_seed = {seed: _study_cells(order, seed) for seed in order.seeds}
    of_seeds = {key: own for cells in by_seed.values() for key, own in cells.items() if key in stored}
    trained = {key: own for key, own in of_seeds.items() if stored[key].status != "failed"}
    if order.methods and trained:
        known = dict.fromkeys(label for own in trained.values() for label in own)
        for method in order.methods:
            if method not in known:
                raise setting_error(
                    "method", method, "one that is stored: " + (", ".join(map(legible, known)) or "none is")
                )
    keys = [key for key, own in trained.items() if not order.methods or {*own} & {*order.methods}]
    if not keys:
        variant = "" if order.variant == "paper" else f" variant={order.variant}"
        wanted = ",".join(map(str, order.seeds))
        where = "" if str(order.results_dir) == "results" else f" results_dir={shlex.quote(str(order.results_dir))}"
        command = f"python -m jumpstart_exp -m +experiment={order.study}{variant} seed={wanted}{where}"
        seeds = {*store.cells(["seed"])["seed"].tolist()} - {*order.seeds}
        of_others = sum(len(_study_cells(order, seed).keys() & stored.keys()) for seed in seeds)
        others = f" ({of_others} of other seeds)" if of_others else ""
        raise SettingError(f"the store has no cell of study={order.study} with seed={wanted}{others}: {command}")
    if missing := [str(seed) for seed, cells in by_seed.items() if not cells.keys() & {*keys}]:
        notes().print(f"seed={','.join(missing)}: the store has no cell of study={order.study}", markup=False)
    return keys


def _study_cells(order: _Order, seed: int) -> dict[str, list[str]]:
    """The methods' labels of the study's cells at this seed, by key, in the study's order of the methods."""
    from jumpstart_exp.config.contents import with_contents
    from jumpstart_exp.config.studies import experiment_cells

    cells = list(dict.fromkeys(replace(cell, seed=seed) for cell in experiment_cells(order.study, order.variant)))
    cells = with_contents(cells, order.data_dir)
    methods = list(dict.fromkeys(cell.method for cell in cells))
    found: dict[str, list[str]] = {}
    for cell in sorted(cells, key=lambda cell: (methods.index(cell.method), cell.depth, cell.width)):
        found.setdefault(cell.key, []).append(cell.method)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
