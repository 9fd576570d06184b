"""Where Hydra discovers this project's sweeper and launcher."""
