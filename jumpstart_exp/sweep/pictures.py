"""`redraw=true`: after every pass of a sweep its heatmaps are drawn, by another process while training goes on."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import IO

from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.console import notes
from jumpstart_exp.settings import legible
from jumpstart_exp.sweep.passes import Pass

_PROGRAM = ("-m", "jumpstart_exp.report.of_cells")


class Pictures:
    """Draws the figures that show a sweep's cells whenever a pass is stored; a drawing that fails ends no sweep.

    One process draws at a time. A pass that ends meanwhile is drawn with those that end until it is done.

    Args:
        passes: those of the sweep.
        stored: keys of what is stored already.
        settings: where the store and the figures are.
    """

    def __init__(self, passes: Sequence[Pass], stored: Iterable[str], settings: RunSettings) -> None:
        known = {*stored}
        self.passes = passes
        self.unfinished = [{cell.key for cell in each.cells} - known for each in passes]
        self.pass_of = {key: number for number, keys in enumerate(self.unfinished) for key in keys}
        self.keys = [[cell.key for cell in each.cells] for each in passes]
        self.folders = [settings.results_dir, settings.data_dir]
        self.console = notes()  # as the progress bar's, which stays below
        done = self._complete()
        self.due = passes[done - 1].shows if 0 < done < len(passes) else None
        """What the next picture shows; None where there is nothing new."""
        self.drawing: tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes], str] | None = None

    def __enter__(self) -> "Pictures":
        """Nothing is drawn yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End a drawing; what it has not written stays as it was."""
        self._end()

    def stored(self, keys: Iterable[str]) -> None:
        """These cells are durable: a picture is due when a pass and all before it are."""
        before = self._complete()
        for key in keys:
            if (number := self.pass_of.pop(key, None)) is not None:
                self.unfinished[number].discard(key)
        if (done := self._complete()) > before:
            self.due = self.passes[done - 1].shows

    def tick(self) -> None:
        """Say what was drawn, and begin what is due."""
        if self.drawing is not None and self.drawing[0].poll() is not None:
            self._tell()
        if self.drawing is None and self.due is not None:
            self._begin(self.due, self._complete())
            self.due = None

    def finish(self) -> None:
        """Draw all that is stored, and wait for it."""
        self._end()  # it has less
        self._begin(self.passes[-1].shows, len(self.passes))
        assert self.drawing is not None
        self.drawing[0].wait()
        self._tell()

    def _end(self) -> None:
        if self.drawing is not None:
            process, asked, told, _ = self.drawing
            process.kill()
            process.wait()
            asked.close()
            told.close()
            self.drawing = None

    def _complete(self) -> int:
        """How many passes are complete, one after the other."""
        return next((number for number, keys in enumerate(self.unfinished) if keys), len(self.unfinished))

    def _begin(self, shows: str, done: int) -> None:
        # no pipes, which may fill up; `_end` closes both
        asked, told = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        asked.write(json.dumps({"cells": self.keys[:done], "left_out": self.keys[done:]}).encode())
        asked.seek(0)
        # a group of its own: of a Ctrl-C its parent decides
        process = subprocess.Popen(
            [sys.executable, *_PROGRAM, *self.folders], stdin=asked, stdout=told, stderr=told, start_new_session=True
        )
        self.drawing = process, asked, told, shows

    def _tell(self) -> None:
        assert self.drawing is not None
        process, _, told, shows = self.drawing
        told.seek(0)
        lines = [legible(line) for line in told.read().decode(errors="replace").splitlines() if line.strip()]
        self._end()
        if process.returncode:
            reason = lines[-1] if lines else f"exit code {process.returncode}"
            self.console.print(f"not drawn ({shows}): {reason}", markup=False, highlight=False)
            return
        for line in lines:
            self.console.print(f"drawn ({shows}): {line}", markup=False, highlight=False, soft_wrap=True)
