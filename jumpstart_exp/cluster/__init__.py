"""Sweeps on a cluster: cells packed into tasks, tasks submitted to SLURM through submitit, and what became of them."""


class ClusterError(Exception):
    """The cluster cannot be used, or did not do what was asked; the message says why and what to do."""
