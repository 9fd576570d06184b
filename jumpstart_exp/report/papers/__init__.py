"""The papers: their numbers, statements and figures, beside ours."""
