"""The store's table as figures need it: sound rows, grids of method × depth × width × seed, their titles."""
