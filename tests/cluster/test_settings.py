"""The launcher's settings: what is not allowed is said in a line that names field, value and what is."""

import math

import pytest

from jumpstart_exp.config.cluster_settings import ClusterSettings
from jumpstart_exp.settings import SettingError

BAD = [
    ("minutes_per_task", 0, "a number above 0 and at most 100000"),
    ("minutes_per_task", -1.5, "a number above 0"),
    ("minutes_per_task", 1e6, "at most 100000"),
    ("minutes_per_task", math.nan, "a number above 0"),
    ("minutes_per_task", math.inf, "a number above 0"),
    ("minutes_per_task", "half", "a number above 0"),
    ("minutes_per_task", None, "a number above 0"),
    ("cpus_per_task", 0, "an integer from 1 to 4096"),
    ("cpus_per_task", 5000, "an integer from 1 to 4096"),
    ("cpus_per_task", 1.5, "an integer from 1 to 4096"),
    ("cpus_per_task", True, "an integer from 1 to 4096"),
    ("gpus_per_task", 2, "an integer from 0 to 1"),
    ("gpus_per_task", -1, "an integer from 0 to 1"),
    ("mem_gb", 0, "a number of at least 0.1 or null"),
    ("mem_gb", 0.0001, "a number of at least 0.1 or null"),  # SLURM would read 0: all of a node
    ("mem_gb", "4GB", "a number of at least 0.1 or null"),
    ("timeout_min", 0, "an integer of at least 1 or null"),
    ("timeout_min", 0.5, "an integer of at least 1 or null"),
    ("max_array_size", 0, "an integer of at least 1 or null"),
    ("max_at_once", 0, "an integer of at least 1"),
    ("max_at_once", None, "an integer of at least 1"),
    ("max_requeues", -1, "an integer of at least 0"),
    ("wait", "never", "true or false"),
    ("wait", 1, "true or false"),
    ("partition", 7, "a text or null"),
    ("account", ["a"], "a text or null"),
    ("qos", 1.0, "a text or null"),
    ("constraint", False, "a text or null"),
    *(
        (name, text, "in one line")
        for name in ("partition", "account", "qos", "constraint")
        for text in ("", " ", "a\nb")
    ),
    ("partition", "a\x1b", "letters that print"),
    ("setup", ["true\0"], "a list of shell commands"),
    ("additional_parameters", {1: 2}, "options of sbatch"),
    ("setup", "module load python", "a list of shell commands"),
    ("setup", ["true", 1], "a list of shell commands"),
    ("setup", {"a": "b"}, "a list of shell commands"),
    ("additional_parameters", ["--hold"], "options of sbatch"),
    ("additional_parameters", "hold", "options of sbatch"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_what_is_not_allowed_is_refused(name, value, allowed):
    with pytest.raises(SettingError) as caught:
        ClusterSettings.from_values({name: value})
    message = str(caught.value)
    assert message.startswith(f"hydra.launcher.{name}={value!r} is not allowed: it must be ")
    assert allowed in message and "\n" not in message


@pytest.mark.parametrize("form", ["{}", "--{}"])
@pytest.mark.parametrize("sign", ["_", "-"])
@pytest.mark.parametrize(
    ("option", "instead"),
    [
        *((name, "") for name in ("array", "error", "job_name", "open_mode", "output", "signal")),
        ("time", ", set hydra.launcher.timeout_min"),
        ("wait", ", set hydra.launcher.wait"),
    ],
)
def test_what_would_break_the_records_is_no_option_of_sbatch(option, instead, sign, form):
    name = form.format(option.replace("_", sign))
    with pytest.raises(SettingError) as caught:
        ClusterSettings.from_values({"additional_parameters": {"nice": 5, name: "7"}})
    start = f"hydra.launcher.additional_parameters.{name}='7' is not allowed"
    assert str(caught.value) == f"{start}: it must be left to the launcher{instead}"


def test_other_options_of_sbatch_are_taken():
    options = {"requeue": True, "no-requeue": True, "time-min": 5, "wait-all-nodes": 1, "nice": 5, "gres": "a:1"}
    assert ClusterSettings.from_values({"additional_parameters": options}).extra.additional_parameters == options


def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_one():
    with pytest.raises(
        SettingError, match=r"^hydra\.launcher\.minutes_per_tasks is not a setting; did you mean minutes"
    ):
        ClusterSettings.from_values({"minutes_per_tasks": 3})
    with pytest.raises(SettingError, match=r"^hydra\.launcher\.extra is not a setting"):
        ClusterSettings.from_values({"extra": {}})


def test_what_is_allowed_is_kept():
    values = {
        "minutes_per_task": 5,
        "cpus_per_task": 2,
        "gpus_per_task": 1,
        "mem_gb": 1.5,
        "timeout_min": 7,
        "max_array_size": 10,
        "max_at_once": 3,
        "max_requeues": 0,
        "wait": False,
        "partition": "debug",
        "account": "me",
        "qos": "low",
        "constraint": "avx512",
    }
    made = ClusterSettings.from_values({**values, "setup": ["true"], "additional_parameters": {"hold": True}})
    assert {name: getattr(made, name) for name in values} == values
    assert made.extra.setup == ("true",) and made.extra.additional_parameters == {"hold": True}


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_setup_and_parameters_may_be_empty(nothing):
    assert ClusterSettings.from_values({"setup": nothing, "additional_parameters": None}) == ClusterSettings()


@pytest.mark.parametrize(
    ("values", "minutes"),
    [({}, 120), ({"minutes_per_task": 1}, 10), ({"minutes_per_task": 10.3}, 42), ({"timeout_min": 3}, 3)],
)
def test_the_time_limit_is_four_times_the_estimate_but_never_short(values, minutes):
    assert ClusterSettings.from_values(values).minutes_until_timeout == minutes
