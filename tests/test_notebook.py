"""In a real Jupyter kernel: what trains, shows its progress, draws itself, and is interrupted."""

import ast
import asyncio
import base64
import io
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

CELLS = {
    "train": """
from jumpstart_exp import grid, heatmap, load, train
df = train(grid(depth=[2, 3], width=3, method=["relu", "sep_up"], optimizer__epochs=20), workers=1)
df[["method", "depth", "status"]].values.tolist()
""",
    "draw": "heatmap(df)",
    "interrupt": """
import os, signal, threading
known = set(os.listdir("results/sweeps"))
def once_in_training():
    while not set(os.listdir("results/sweeps")) - known:  # the record of a sweep that trains
        threading.Event().wait(0.05)
    threading.Event().wait(1)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=once_in_training).start()
train(grid(depth=100, width=25, seed=[0, 1], optimizer__epochs=1_000_000), workers=1)
""",
    "afterwards": """
import matplotlib.pyplot as plt
len(load()), plt.get_fignums(), signal.getsignal(signal.SIGINT) is signal.default_int_handler
""",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What every cell has put out."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(folder / name))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        client = NotebookClient(notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(folder)}})
        asyncio.run(client.async_execute())
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells), strict=True))


def texts(of: list[Any]) -> list[str]:
    return [output["data"]["text/plain"] for output in of if "data" in output]


def test_it_trains_and_gives_the_table(outputs: dict[str, list[Any]]) -> None:
    wanted = [["relu", 2, "done"], ["sep_up", 2, "done"], ["relu", 3, "done"], ["sep_up", 3, "done"]]
    assert ast.literal_eval(texts(outputs["train"])[-1]) == sorted(wanted, key=lambda row: (row[1], row[0]))
    assert not [output for output in outputs["train"] if output["output_type"] == "error"]


def test_it_shows_one_bar_that_ends_full(outputs: dict[str, list[Any]]) -> None:
    bars = [output for output in outputs["train"] if "━" in output.get("data", {}).get("text/plain", "")]
    bars = [bar for bar in bars if "cells" in bar["data"]["text/plain"] and "training" in bar["data"]["text/plain"]]
    (bar,) = [bar for bar in bars if "trained now" not in bar["data"]["text/plain"]]
    assert "4/4 cells" in bar["data"]["text/plain"]
    assert "text/html" in bar["data"]


def test_a_figure_shows_itself_once(outputs: dict[str, list[Any]]) -> None:
    (shown,) = outputs["draw"]
    assert shown["output_type"] == "execute_result"
    picture = Image.open(io.BytesIO(base64.b64decode(shown["data"]["image/png"])))
    size = shown["metadata"]["image/png"]
    assert picture.size == (2 * size["width"], 2 * size["height"])


def test_the_stop_button_stores_and_says_how_to_go_on(outputs: dict[str, list[Any]]) -> None:
    (error,) = [output for output in outputs["interrupt"] if output["output_type"] == "error"]
    assert error["ename"] == "KeyboardInterrupt"
    words = "stopped: 0 of 2 cells are done and stored in results; run the same command again to go on"
    assert error["evalue"] == words
    assert any("0/2 cells" in text for text in texts(outputs["interrupt"]))
    assert texts(outputs["afterwards"]) == ["(4, [], True)"]
