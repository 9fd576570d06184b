"""The inside of networks whose states were kept: what they make of the data, layer by layer, and how it came about."""
