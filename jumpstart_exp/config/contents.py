"""What the files of datasets hold, as part of the cells that read them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import DatasetSpec, check_content
from jumpstart_exp.data.image_files import DataError


def with_contents(cells: Sequence[Cell], data_dir: Path) -> list[Cell]:
    """The cells as they are trained from the files of this folder: what these hold is part of the key.

    Of files that are missing nothing is known: they are fetched as published, or preparing them says what is wrong.

    Args:
        cells: any cells.
        data_dir: folder of the datasets' files.

    Raises:
        DataError: a dataset asks for other content than its files have.
    """
    contents: dict[tuple[type[DatasetSpec], tuple[Path, ...]], str | None] = {}
    datasets: dict[DatasetSpec, DatasetSpec] = {}
    for spec in dict.fromkeys(cell.dataset for cell in cells):
        place = type(spec), tuple(spec.sources(data_dir))
        if place not in contents:
            try:
                contents[place] = spec.content_in(data_dir) if place[1] else None
            except DataError:
                contents[place] = spec.content
        check_content(spec, contents[place], data_dir)
        datasets[spec] = replace(spec, content=contents[place])
    return [
        cell if cell.dataset == datasets[cell.dataset] else replace(cell, dataset=datasets[cell.dataset])
        for cell in cells
    ]
