"""Pages of the site (mkdocs.yml) that stand elsewhere in the repository: the start page and the changelog.

README.md is written for the repository: its links into docs/ are links within docs/ here.
"""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {"index.md": ROOT / "README.md", "changelog.md": ROOT / "CHANGELOG.md"}
"""Page → the file that it is made of."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for name, source in ELSEWHERE.items():
        text = source.read_text(encoding="utf-8")
        here = text.replace("](docs/", "](").replace("](CHANGELOG.md", "](changelog.md")
        files.append(File.generated(config, name, content=here))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """A page without siblings has no list of them beside it: the tabs above name it."""
    if page.parent is None:
        page.meta["hide"] = ["navigation"]
    return markdown
