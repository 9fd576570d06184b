"""Every block of code of the README and of the site's pages runs: documentation.py says how."""

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from documentation import ROOT, Reader, blocks, commands, not_run, pages
from program import run_forked

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
LONG = "docs/gallery.md"
"""Forty figures, each with its commands."""

MOST_NOT_RUN = 0.1
"""The share of the other pages' commands and blocks of Python that may stand there without being run."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which one small network is stored, and its key."""
    folder = tmp_path_factory.mktemp("stored")
    done = run_forked("jumpstart_exp", ["depth=2", "width=2", "optimizer.epochs=2"], folder, dict(os.environ), 120)
    assert done.returncode == 0, done.stderr
    return folder, re.findall(r"its row: key=(\w+)", done.stdout)[0]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.soak] if name == LONG else [])
        for name, page in PAGES.items()
        if blocks(page)
    ],
)
def test_a_page_does_what_it_says(name, stored, tmp_path, command, answer):
    folder, key = stored
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with Reader(tmp_path, key, command, answer) as reader:
        reader.read(PAGES[name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\npython -m jumpstart_exp dept=2\n```", "did you mean depth"),
        ("```\npython -m jumpstart_exp.report figure=iclr-1\n```", "nothing that it shows is stored"),
        ("<!-- test: fails: another error -->\n```\npython -m jumpstart_exp.report figure=iclr-1\n```", "nothing"),
        ("<!-- test: fails: no error -->\n```\npython -m jumpstart_exp.status\n```", "done"),
        ("```\npython -m jumpstart_exp -m seed=range(6)\n```", "a shell takes"),
        ("```\nls\n```", "no way to run"),
        ("```python\nimport jumpstart_exp\njumpstart_exp.trian\n```", "no attribute 'trian'"),
        ("<!-- test: without seed=1 -->\n```\npython -m jumpstart_exp\n```", "no clause"),
        ("<!-- test: replace depth=3 by depth=2 -->\n```\npython -m jumpstart_exp\n```", "is not in the block"),
        ("<!-- test: with seed=1 -->\n\n```\npython -m jumpstart_exp\n```", "no block behind the comment"),
    ],
)
def test_a_page_that_says_what_is_not_so_fails(text, message, stored, tmp_path, answer):
    folder, key = stored
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    page = tmp_path / "page.md"
    page.write_text(text + "\n", encoding="utf-8")
    with Reader(tmp_path, key, answer, answer) as reader, pytest.raises(AssertionError, match=message):
        reader.read(page)


def test_little_is_not_run_and_each_time_it_says_why():
    left_out, count = [], 0
    for name, page in PAGES.items():
        for block in blocks(page) if name != LONG else []:
            if block.is_read_only or block.title:
                continue
            parts = [(c.typed, c.not_run) for c in commands(block)] if block.language != "python" else [("python", "")]
            count += len(parts)
            left_out += [
                f"{name}:{block.line}: {part}: {why}" for part, said in parts if (why := said or not_run(block))
            ]
    print(*left_out, sep="\n")
    assert len(left_out) <= MOST_NOT_RUN * count, f"{len(left_out)} of {count} are not run:\n" + "\n".join(left_out)


@pytest.mark.parametrize("name", PAGES)
def test_what_is_named_on_a_page_is_there(name):
    text = PAGES[name].read_text(encoding="utf-8")
    for module in re.findall(r"python -m (jumpstart_exp[\w.]*)", text):
        assert find_spec(f"{module}.__main__" if module.count(".") == 0 else module), module
    for path in re.findall(r"`((?:conf|jumpstart_exp|scripts|tests)/[\w./]+?\.(?:py|yaml|cpp|hpp))", text):
        is_a_pattern = re.search("[A-Z]{4}", path)  # conf/dataset/NAME.yaml
        assert is_a_pattern or (ROOT / path).is_file() or f'title="{path}"' in text, path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_of_the_readme_lead_to_files():
    """In the repository; on the site, where it is the start page, `make docs` looks after links and anchors."""
    links = re.findall(r"\]\(([^)#]+)", PAGES["README.md"].read_text(encoding="utf-8"))
    assert len(links) > 10 and not [link for link in links if not (ROOT / link).is_file()]
