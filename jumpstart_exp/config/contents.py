"""What the files of datasets hold, as part of the cells that read them."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import check_content


def with_contents(cells: Sequence[Cell], data_dir: Path) -> list[Cell]:
    """The cells as they are trained from the files of this folder: what these hold is part of the key.

    Of files that are missing nothing is known: they are fetched as published, or preparing them says what is wrong.

    Args:
        cells: any cells.
        data_dir: folder of the datasets' files.

    Raises:
        DataError: a dataset asks for other content than its files have, or these cannot be trained on.
        SettingError: a setting does not fit to what the files hold.
    """
    contents: dict[Hashable, str | None] = {}
    datasets: dict[DatasetSpec, DatasetSpec] = {}
    for spec in dict.fromkeys(cell.dataset for cell in cells):
        sources = tuple(spec.sources(data_dir))
        # what is drawn depends on the settings, what files hold does not
        place = (type(spec), sources) if sources else replace(spec, n_train=None, n_val=None, content=None)
        if place not in contents:
            try:
                contents[place] = spec.content_in(data_dir)
            except DataError:
                contents[place] = spec.content
        check_content(spec, contents[place], data_dir)
        datasets[spec] = spec.examined(data_dir, contents[place])
    return [
        cell if cell.dataset == datasets[cell.dataset] else replace(cell, dataset=datasets[cell.dataset])
        for cell in cells
    ]
