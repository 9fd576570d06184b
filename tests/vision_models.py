"""torchvision's models, also where torchvision was built for another torch: they need none of its operators."""

import importlib
import sys
import types


def torchvision_models() -> types.ModuleType:
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    return importlib.import_module("torchvision.models")
