"""From a sweep's overrides to stored results: ellipses, fast composition, workers, the launcher."""
