"""A SLURM of small shell scripts on PATH: what launchers and surveys ask of it, answered from a file of jobs."""

import os
import re
import stat
from pathlib import Path

import pytest

_BEGIN = """#!/bin/sh
me=$(basename "$0")
echo "$me $*" >> {folder}/calls
for cause in {folder}/all.fails {folder}/$me.fails; do [ -e "$cause" ] && . "$cause"; done
"""

_SCRIPTS = {
    # a job that is unknown is an error if it is the only one asked for
    "squeue": """
format= jobs= names= each=
while [ $# -gt 0 ]; do
  case $1 in
    -o) format=$2; shift ;;
    -j) jobs=$2; shift ;;
    --name=*) names=${{1#--name=}} ;;
    -r) each=1 ;;
    -t) [ "$2" = all ] || {{ echo "only all are known here" >&2; exit 2; }}; shift ;;
    -h) ;;
    *) echo "squeue: unrecognized option $1" >&2; exit 1 ;;
  esac
  shift
done
found=$(awk -F'|' -v jobs=",$jobs," -v names=",$names," -v format="$format" -v each="$each" '
  (jobs == ",," || index(jobs, "," $1 ",")) && (names == ",," || index(names, "," $3 ",")) {{
    if (format == "%i|%T|%j" && each == "" && $2 != "-" && $4 == "PENDING") print $1 "_[" $2 "-]|" $4 "|" $3
    else if (format == "%i|%T|%j") print ($2 == "-" ? $1 : $1 "_" $2) "|" $4 "|" $3
    else if (format == "%j|%F") print $3 "|" $1
  }}' {folder}/jobs)
case $jobs in
  *,* | "") ;;
  *) [ -n "$found" ] || {{ echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }} ;;
esac
[ -n "$each" ] || found=$(printf '%s\\n' "$found" | sort -u)
printf '%s\\n' "$found"
""",
    "sbatch": """
number=$(cat {folder}/next)
echo $((number + 1)) > {folder}/next
cp "$1" {folder}/$number.sh
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
if [ -n "$last" ]; then
  for index in $(seq 0 "$last"); do echo "$number|$index|$name|PENDING" >> {folder}/jobs; done
else
  echo "$number|-|$name|PENDING" >> {folder}/jobs
fi
echo "Submitted batch job $number"
""",
    "sacct": """
cat {folder}/jobs {folder}/past |
  awk -F'|' '{{ print ($2 == "-" ? $1 : $1 "_" $2) "|" $4 ($4 == "CANCELLED" ? " by 0" : "") }}'
""",
    "scontrol": """
case $1 in
  show) echo "Configuration data as of now"; echo "MaxArraySize            = $(cat {folder}/max_array_size)" ;;
  requeue) ;;
esac
""",
    "scancel": """
awk -F'|' -v OFS='|' -v jobs=" $* " '
  index(jobs, " " $1 " ") || index(jobs, " " $1 "_" $2 " ") { $4 = "CANCELLED" } { print }
' {folder}/jobs > {folder}/jobs.new
mv {folder}/jobs.new {folder}/jobs
""".replace("{ $4", "{{ $4")
    .replace('" }', '" }}')
    .replace("{ print }", "{{ print }}"),
    "srun": "exit 1",
}


class Scheduler:
    """SLURM's commands in a folder, the first ones on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, text in _SCRIPTS.items():
            path = folder / "bin" / name
            path.write_text((_BEGIN + text).format(folder=folder))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        for name, content in (("jobs", ""), ("past", ""), ("next", "7\n"), ("max_array_size", "1001\n"), ("calls", "")):
            (folder / name).write_text(content)
        monkeypatch.setenv("PATH", f"{folder}/bin{os.pathsep}{os.environ['PATH']}")

    def limit_arrays(self, size: int) -> None:
        (self.folder / "max_array_size").write_text(f"{size}\n")

    def add(self, *tasks: str, state: str, name: str = "jumpstart-sweep") -> None:
        """Put tasks into the queue: "7_0", or "7" for a job that is no array."""
        with (self.folder / "jobs").open("a") as file:
            for task in tasks:
                array, _, index = task.partition("_")
                file.write(f"{array}|{index or '-'}|{name}|{state}\n")

    def tasks(self) -> dict[str, str]:
        """State by task, in the order of their submission."""
        rows = [line.split("|") for line in (self.folder / "jobs").read_text().splitlines()]
        return {array if index == "-" else f"{array}_{index}": state for array, index, _, state in rows}

    def turn(self, *tasks: str, to: str | None) -> None:
        """These tasks are in this state from now on; None: they are not in the queue any more."""
        kept = []
        for line in (self.folder / "jobs").read_text().splitlines():
            array, index, name, _ = line.split("|")
            if (array if index == "-" else f"{array}_{index}") not in tasks:
                kept.append(line)
            elif to is not None:
                kept.append(f"{array}|{index}|{name}|{to}")
        (self.folder / "jobs").write_text("".join(f"{line}\n" for line in kept))

    def forget(self, *tasks: str, ended: str) -> None:
        """The accounting alone knows from now on how these tasks ended."""
        self.turn(*tasks, to=None)
        with (self.folder / "past").open("a") as file:
            for task in tasks:
                array, _, index = task.partition("_")
                file.write(f"{array}|{index or '-'}|name|{ended}\n")

    def fail(
        self, script: str = 'echo "$me: error: Unable to contact slurm controller" >&2; exit 1', on: str = "all"
    ) -> None:
        """Let a command, or all, do this first."""
        (self.folder / f"{on}.fails").write_text(script + "\n")

    def recover(self) -> None:
        for path in self.folder.glob("*.fails"):
            path.unlink()

    def calls(self, command: str) -> list[str]:
        """The arguments of all calls of a command."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.removeprefix(command).strip() for line in lines if line.split()[0] == command]

    def script(self, number: int) -> dict[str, str]:
        """The options in a job's batch script."""
        text = (self.folder / f"{number}.sh").read_text()
        return {name: value or "" for name, value in re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE)}


def hide_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no SLURM on PATH, where its commands may stand among the system's own."""
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
