"""Engines: ways to train cells. All keep one interface, and agree with the reference, `eager`."""

from jumpstart_exp.engines.choice import ENGINES, Choice, choose_engines, passed_over_lines
from jumpstart_exp.engines.interface import Engine, load_and_train, once_for_all_seeds

__all__ = ["ENGINES", "Choice", "Engine", "choose_engines", "load_and_train", "once_for_all_seeds", "passed_over_lines"]
