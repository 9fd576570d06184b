"""What the documentation tells a reader to type, and running it.

A page's blocks run from top to bottom in one folder, in which one small network is stored: blocks of `python` in one
namespace; of blocks without a language every line, as a command, or in a transcript what stands behind `$ `. A block
with a `title="FILE"` is that file. Blocks of other languages are read and not run. `make TARGET` runs what make would,
and `key=…` is the key of the network that was trained last.

A comment before a block, `<!-- test: CLAUSE; CLAUSE -->`, makes it shorter:

    with WORDS            added to every training (python -m jumpstart_exp …), in place of words of the same name
    replace TEXT by TEXT  in the block
    fails: TEXT           every command but the trainings ends with an error that has the text, because the folder lacks
                          what it needs; `fails COMMAND: TEXT` says it of the commands that begin so
    not run: REASON       nothing of it is run; `not run COMMAND: REASON` says it of the commands that begin so
"""

import multiprocessing.connection
import os
import re
import shlex
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from program import FORKED, TESTS, fork_server_of_workers

from jumpstart_exp.data.image_files import torchvision_module

ROOT = TESTS.parent
TRAINING = "python -m jumpstart_exp "
TIMEOUT = 120
Run = Callable[..., subprocess.CompletedProcess[str]]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<info>.*)$")
_COMMENT = re.compile(r"^ *<!-- test: (.*) -->$")
_CLAUSE = re.compile(r"(with|replace|fails|not run)\b *([^:]*)(?:: (.*))?$", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and what its comment says."""

    line: int
    language: str
    title: str
    text: str
    clauses: tuple[str, ...]

    @property
    def is_read_only(self) -> bool:
        return not self.title and self.language not in ("", "python")


@dataclass(frozen=True)
class Command:
    """A command as it is typed, what is added to it, why it is not run, and the error that it has to end with."""

    typed: str
    added: str
    not_run: str
    error: str


def pages() -> list[Path]:
    """The pages of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page."""
    found: list[Block] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    clauses: tuple[str, ...] = ()
    for number, line in lines:
        if comment := _COMMENT.match(line):
            assert not clauses, f"{page.name}:{number}: two comments before a block"
            clauses = tuple(comment[1].split("; "))
        elif fence := _FENCE.match(line):
            title = re.search(r'title="([^"]+)"', fence["info"])
            text = "".join(f"{each.removeprefix(fence['indent'])}\n" for each in _until_fence(lines))
            found.append(Block(number, fence["language"], title[1] if title else "", text, clauses))
            clauses = ()
        else:
            assert not clauses, f"{page.name}:{number}: no block behind the comment"
    return found


def _until_fence(lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == "```":
            return
        yield line
    raise AssertionError("a block does not end")


def not_run(block: Block) -> str:
    """Why a block is not run; empty if it is."""
    return next((said for verb, of, said in _parsed(block) if verb == "not run" and not of), "")


def code(block: Block) -> str:
    """The block's text as it is run."""
    text = block.text
    for verb, words, _ in _parsed(block):
        if verb == "replace":
            old, new = words.split(" by ")
            assert old in text, f"line {block.line}: {old} is not in the block"
            text = text.replace(old, new)
    return text


def commands(block: Block) -> list[Command]:
    """The commands of a block."""
    text = code(block).replace("\\\n", " ")
    is_transcript = text.startswith("$ ")
    lines = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ") or not is_transcript]
    typed = [" ".join(shlex.split(line, comments=True)) and line for line in lines]
    clauses = _parsed(block)
    found = []
    for line in filter(None, typed):
        is_training = f"{line} ".startswith(TRAINING)
        added = " ".join(words for verb, words, _ in clauses if verb == "with")
        why, error = (
            max(
                (of, said)
                for each, of, said in [(verb, "", ""), *clauses]
                if each == verb and line.startswith(of) and not (verb == "fails" and not of and said and is_training)
            )[1]
            for verb in ("not run", "fails")
        )
        found.append(Command(line, added, why, error))
    return found


def _parsed(block: Block) -> list[tuple[str, str, str]]:
    found = []
    for clause in block.clauses:
        match = _CLAUSE.fullmatch(clause)
        assert match, f"line {block.line}: no clause: {clause}"
        verb, words, said = match[1], match[2].strip(), (match[3] or "").strip()
        assert said if verb in ("fails", "not run") else words, f"line {block.line}: says nothing: {clause}"
        if verb in ("with", "replace"):
            words, said = clause.removeprefix(verb).strip(), ""
        found.append((verb, words, said))
    return found


class Reader:
    """Who types a page's blocks in a folder.

    `command` runs a module's command there, `answer` does so in this process: tests/conftest.py has both.
    """

    def __init__(self, folder: Path, key: str, command: Run, answer: Run) -> None:
        self.folder, self.key = folder, key
        self._command, self._answer = command, answer
        self._output = folder.with_name(f"{folder.name}.python")
        self._python: multiprocessing.connection.Connection | None = None
        self._answered: set[frozenset[str]] = set()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._python is not None:
            self._python.close()

    def read(self, page: Path) -> None:
        """Run a page's blocks from top to bottom.

        Raises:
            AssertionError: one does not do what the page says.
        """
        for block in blocks(page):
            if not block.is_read_only and not not_run(block):
                self._run(block)

    def _run(self, block: Block) -> None:
        if block.title:
            file = self.folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code(block), encoding="utf-8")
        elif block.language == "python":
            self._interpret(code(block))
        else:
            for command in commands(block):
                if not command.not_run:
                    self._type(command)

    def _interpret(self, text: str) -> None:
        if self._python is None:
            self._python, other = FORKED.Pipe()
            FORKED.Process(target=_interpreter, args=(other, self.folder, self._output)).start()
            other.close()
        self._python.send(text)
        assert self._python.poll(TIMEOUT), f"no answer from:\n{text}"
        error = self._python.recv()
        assert not error, error + self._output.read_text(errors="replace")

    def _type(self, command: Command) -> None:
        tokens = shlex.shlex(command.typed, posix=True, punctuation_chars=True)
        operators = [token for token in tokens if set(token) <= set("();<>|&")]
        assert not operators, f"a shell takes {operators} for itself: {command.typed}"
        words = shlex.split(command.typed.replace("key=…", f"key={self.key}"), comments=True)
        if words[0] == "make":
            self._make(words[1:], command)
            return
        assert words[:2] == ["python", "-m"] and words[2].split(".")[0] == "jumpstart_exp", f"no way to run {words}"
        module, arguments = words[2], words[3:]
        if module == "jumpstart_exp":
            added = shlex.split(command.added)
            names = {word.partition("=")[0] for word in added if "=" in word}
            typed = [word for word in arguments if word.partition("=")[0] not in names]
            options = [word for word in added if word.startswith("--")]
            arguments = [*options, *typed, *(word for word in added if word not in options)]
        if "dry_run=true" in arguments:
            if frozenset(arguments) in self._answered:
                return
            self._answered.add(frozenset(arguments))
        trains = module in ("jumpstart_exp", "jumpstart_exp.inspect") and "dry_run=true" not in arguments
        run = self._command if trains and not command.error else self._answer
        done = run(*arguments, module=module)
        said = f"{module} {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
        if command.error:
            assert done.returncode and command.error in done.stdout + done.stderr, said
        else:
            assert done.returncode == 0, said
        if keys := re.findall(r"its row: key=(\w+)", done.stdout):
            self.key = keys[-1]

    def _make(self, words: list[str], command: Command) -> None:
        """Run what make would, without the installation."""
        line = ["make", "-n", "--no-print-directory", "-o", ".venv/installed", *words]
        dry = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
        for typed in dry.stdout.replace(".venv/bin/python", "python").splitlines():
            self._type(replace(command, typed=typed, error="" if f"{typed} ".startswith(TRAINING) else command.error))


def _interpreter(blocks: multiprocessing.connection.Connection, folder: Path, output: Path) -> None:
    """Run what comes in one namespace; what goes back is the traceback, empty where there is none."""
    os.chdir(folder)
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    fork_server_of_workers()
    torchvision_module("models")  # also where torchvision was built for another torch
    sys.path[:] = [str(folder), *(path for path in sys.path if not Path(path).is_relative_to(TESTS))]
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", module="lightning")
    namespace = {"__name__": "__main__"}
    while True:
        try:
            text = blocks.recv()
        except EOFError:
            return
        try:
            exec(compile(text, "a block of the page", "exec"), namespace)
        except Exception:
            blocks.send(traceback.format_exc())
        else:
            blocks.send("")
