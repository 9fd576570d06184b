"""Parts of scripts/gpu_check.py: what a GPU has to show, each by itself."""
