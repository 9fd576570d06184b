"""The atlas: many methods on one grid of depth × width, compared."""
