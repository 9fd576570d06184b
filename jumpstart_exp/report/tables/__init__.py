"""Writing only: one table as Markdown, LaTeX and CSV."""
