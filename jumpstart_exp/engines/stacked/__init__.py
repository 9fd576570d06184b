"""The parts of the stacked engine: a fleet of networks, its tensors, and what is done with them."""
