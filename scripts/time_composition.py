"""Seconds to make the cells of a sweep, our way beside Hydra's own: python scripts/time_composition.py [CELLS]."""

import sys
import time

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra

from jumpstart_exp.config import conf_dir, register_schema
from jumpstart_exp.sweep.compose import compose_cells
from jumpstart_exp.sweep.launcher import expand_jobs

SAMPLE = 50


def main() -> None:
    """Print both times for the same sweep; Hydra's is measured on a sample and scaled up."""
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seeds = -(-cells // (4 * 25 * 20))
    sweep = ["method=relu,relu_bn,sep_u,sep_up", "depth=range(1,26)", "width=range(1,21)", f"seed=range(0,{seeds})"]
    register_schema()
    with initialize_config_dir(version_base="1.3", config_dir=conf_dir()):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        loader = hydra.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        master = compose("config", return_hydra_config=True)
        jobs = expand_jobs(loader, None, sweep)[:cells]
        start = time.perf_counter()
        made = compose_cells(loader, master, jobs)
        ours = time.perf_counter() - start
        start = time.perf_counter()
        for job in jobs[:: max(1, len(jobs) // SAMPLE)][:SAMPLE]:
            loader.load_sweep_config(master, list(job))
        theirs = (time.perf_counter() - start) / SAMPLE * len(jobs)
        start = time.perf_counter()
        keys = {cell.key for cell in made}
        hashing = time.perf_counter() - start
    print(f"{len(jobs)} cells, {len(keys)} distinct keys")
    print(f"composed and validated here  {ours:8.1f} s")
    print(f"keys                         {hashing:8.1f} s")
    print(f"composed by Hydra (sample)   {theirs:8.1f} s   {theirs / ours:.0f} times as long")


if __name__ == "__main__":
    main()
