"""Experiment grids for deep, thin ReLU networks with separation penalties."""
