"""Sweeps that are harmed: killed, out of room, out of memory, side by side, in odd places."""
