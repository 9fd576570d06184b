"""Tests with a real SLURM, and of launchers that submit jobs: a package, so that its conftest has a name of its own."""
