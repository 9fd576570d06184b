"""Output that nobody reads, or can read: a command goes on, says what it can say, and ends by what it did."""

import fcntl
import importlib
import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jumpstart_exp import console
from jumpstart_exp.console import notes, redraws

TALKATIVE = """
import sys, warnings
from jumpstart_exp.console import Notice, complain, notes, output, set_up_output, warn
{before}
set_up_output()
{after}
for number in range(300):
    print("printed", number, flush=number % 100 == 0)
    output().print("shown", number)
    notes().print("noted", number)
    sys.stderr.write("written\\n")
warn("a warning")
complain("a complaint")
warnings.warn("a notice", Notice)
sys.stdout.flush()
open({done!r}, "w").write("done")
sys.exit(7)
"""


@pytest.fixture
def talk(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run a program that says much on both streams, and see to it that it comes to its end."""

    def run(before: str = "", after: str = "", **how: Any) -> subprocess.CompletedProcess[bytes]:
        done = tmp_path / "done"
        script = TALKATIVE.format(before=before, after=after, done=str(done))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        environment |= how.pop("environment", {})
        process = subprocess.Popen([sys.executable, "-c", script], env=environment, **how)
        said = process.communicate(timeout=60)
        assert done.exists(), said
        assert process.returncode == 7
        return subprocess.CompletedProcess([], 7, *said)

    return run


def unread_pipe() -> int:
    """The end of a pipe whose other end is closed."""
    read, write = os.pipe()
    os.close(read)
    return write


def lost_terminal() -> int:
    """A terminal whose other side is gone."""
    theirs, ours = pty.openpty()
    os.close(theirs)
    return ours


@pytest.mark.parametrize("gone", [unread_pipe, lost_terminal])
def test_a_reader_that_is_gone_ends_nothing(talk, gone):
    descriptor = gone()
    talk("print('early')", stdout=descriptor, stderr=descriptor)  # what was said before is not written yet
    heard = talk(stdout=descriptor, stderr=subprocess.PIPE).stderr
    assert heard.count(b"noted") == heard.count(b"written") == 300
    assert heard.endswith(b"warning: a warning\nerror: a complaint\nwarning: a notice\n")
    how = {"environment": {"PYTHONUNBUFFERED": "1"}}
    heard = talk(stdout=subprocess.PIPE, stderr=descriptor, **how).stdout
    assert heard.count(b"printed") == heard.count(b"shown") == 300
    os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at descriptors through /proc")
@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_streams_that_are_closed_from_the_beginning_are_as_good_as_empty(talk, closed):
    """Otherwise the next file that is opened has the number, and gets what is printed."""

    def close() -> None:
        for number in closed:
            os.close(number)

    checked = "\n".join(f"assert os.readlink('/proc/self/fd/{number}') == '/dev/null'" for number in closed)
    talk(after=f"import os\n{checked}", preexec_fn=close)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_ends_nothing_and_is_said_once(talk):
    with Path("/dev/full").open("wb") as full:
        heard = talk(stdout=full, stderr=subprocess.PIPE).stderr
        talk(stdout=full, stderr=full)
    assert heard.count(b"warning: standard output takes no more: No space left on device") == 1


def test_a_pipe_that_is_not_to_be_waited_for_gets_everything(talk):
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETFL, os.O_NONBLOCK)
    reader = subprocess.Popen(["sh", "-c", "sleep 0.3; wc -l"], stdin=read, stdout=subprocess.PIPE)
    talk(stdout=write, stderr=subprocess.DEVNULL)
    os.close(read)
    os.close(write)
    assert int(reader.communicate()[0]) == 600


@pytest.mark.parametrize("how", ["close", "detach"])
def test_a_stream_that_the_program_has_closed_ends_nothing(talk, how):
    heard = talk(f"sys.stdout.{how}()", stdout=subprocess.PIPE, stderr=subprocess.PIPE).stderr
    assert heard.count(b"noted") == heard.count(b"written") == 300


@pytest.mark.parametrize(
    ("coding", "environment"),
    [
        ("ascii", {"PYTHONIOENCODING": "ascii"}),
        ("latin-1", {"PYTHONIOENCODING": "latin-1"}),
        ("ascii", {"LC_ALL": "C", "PYTHONUTF8": "0"}),  # ascii:surrogateescape
    ],
)
def test_letters_that_the_encoding_lacks_are_replaced(talk, coding, environment):
    heard = talk(
        after=r"print('50\xd74 \u2192 \u221e'); output().print('50\xd74 \u2192 \u221e')",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        environment=environment,
    ).stdout
    assert heard.splitlines()[:2] == 2 * ["50×4 ? ?".encode(coding, "replace")]


@pytest.mark.parametrize("name", ["datasets", "inspect.__main__", "report.__main__", "status", "store.__main__"])
def test_every_command_sets_its_output_up_first(name, monkeypatch, capsys):
    module = importlib.import_module(f"jumpstart_exp.{name}")
    called = []
    monkeypatch.setattr(module, "set_up_output", lambda: called.append(capsys.readouterr().out))
    assert module.main(["--help"]) == 0
    assert called == [""]
    assert capsys.readouterr().out.startswith("Usage: ")


class Stream(io.StringIO):
    """Stands in for a terminal, or for a file."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "dumb", "FORCE_COLOR": "1"}, False),
        (False, {"TERM": "xterm"}, False),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
        (False, {"TERM": "xterm", "TTY_COMPATIBLE": "1"}, False),
    ],
)
def test_a_bar_is_drawn_on_a_terminal_that_can_go_back_and_nowhere_else(
    monkeypatch, is_terminal, environment, expected
):
    for name in ("TERM", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", Stream(is_terminal))
    assert redraws(notes()) == expected


def test_streams_that_are_not_the_process_own_are_left_alone(monkeypatch):
    """A notebook's, or a test's."""
    streams = Stream(True), Stream(False)
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    monkeypatch.setattr("warnings.showwarning", None)
    console.set_up_output()
    assert (sys.stdout, sys.stderr) == streams
