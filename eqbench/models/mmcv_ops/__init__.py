"""Lets mmdet run from a plain `pip install`: the operators that mmcv would compile, served by torchvision.

`install()` comes before the first import of mmcv.ops or mmdet. A compiled mmcv is used as it is. Otherwise a module
takes the place of `mmcv._ext`; the functions in it write into the tensors that mmcv allocates, on CPU and GPU, and
an operator that is not among them can be imported but raises `EnvironmentProblem` when it is called.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from eqbench.errors import EnvironmentProblem
from eqbench.models.mmcv_ops import class_wise_nms, deform_conv, focal_loss, nms, roi_align
from eqbench.models.mmcv_ops.class_wise_nms import batched_nms

__all__ = ["batched_nms", "install"]

EXTENSION = "mmcv._ext"
SERVED: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        nms.nms,
        nms.softnms,
        nms.nms_match,
        roi_align.roi_align_forward,
        roi_align.roi_align_backward,
        focal_loss.sigmoid_focal_loss_forward,
        focal_loss.sigmoid_focal_loss_backward,
        deform_conv.deform_conv_forward,
        deform_conv.deform_conv_backward_input,
        deform_conv.deform_conv_backward_parameters,
        deform_conv.modulated_deform_conv_forward,
        deform_conv.modulated_deform_conv_backward,
    )
}


def install() -> None:
    """Makes mmcv.ops importable and its `batched_nms` the one that does not loop over classes; again does nothing.

    `batched_nms` is replaced beside a compiled mmcv too, so that detections do not depend on which one is installed.

    Raises:
        EnvironmentProblem: mmcv is not installed, or parts of mmdet that use operators were imported before this call:
            they hold the operators, or stubs in their place, that they found then.
    """
    importers = [name for name, module in list(sys.modules.items()) if name.startswith("mmdet.") and _early(module)]
    if importers:
        raise EnvironmentProblem(
            f"{importers[0]} was imported before eqbench.models.mmcv_ops.install(), so it lacks mmcv's operators; "
            "import eqbench's detection first"
        )
    if not _importable():
        _place_extension()
    operators = importlib.import_module("mmcv.ops")
    # As an attribute of mmcv.ops, `nms` is the function; mmdet imports batched_nms from the module and the package.
    module = importlib.import_module("mmcv.ops.nms")
    if module.batched_nms is not batched_nms:
        class_wise_nms.other_kinds = module.batched_nms
        vars(module)["batched_nms"] = vars(operators)["batched_nms"] = batched_nms


def _early(module: ModuleType) -> bool:
    """Whether a module of mmdet holds mmcv's batched_nms, or one of the stubs that mmdet defines without mmcv."""
    names = vars(module)
    stub = getattr(names.get("roi_align"), "__module__", None) == module.__name__
    return stub or names.get("batched_nms", batched_nms) is not batched_nms


def _importable() -> bool:
    """Whether there is an extension: compiled, or placed by an earlier call."""
    try:
        importlib.import_module(EXTENSION)
    except ModuleNotFoundError as error:
        if error.name == "mmcv":
            raise EnvironmentProblem("mmcv is not installed: pip install onedl-mmcv onedl-mmdetection") from error
        return False
    except (ImportError, OSError) as error:
        warnings.warn(f"mmcv's compiled operators do not load ({error}); torchvision's are used", stacklevel=3)
        return False
    return True


class _Extension(ModuleType):
    """Stands for `mmcv._ext`: any operator can be looked up, those that nobody serves fail when called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("_"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> NoReturn:
            raise EnvironmentProblem(
                f"mmcv's operator {name!r} is compiled code that this mmcv comes without, and torchvision has none "
                "that eqbench could use in its place: install an mmcv compiled with its operators for this torch "
                f"(one in which `import {EXTENSION}` works), or choose a model that does without"
            )

        return missing


def _place_extension() -> None:
    module = _Extension(EXTENSION, __doc__)
    module.__spec__ = ModuleSpec(EXTENSION, None, origin=__name__)
    vars(module).update(SERVED, get_compiler_version=_not_compiled, get_compiling_cuda_version=_not_compiled)
    sys.modules[EXTENSION] = module
    vars(sys.modules["mmcv"])["_ext"] = module


def _not_compiled() -> str:
    """What mmcv's report on its environment says where there is no compiled code."""
    return "n/a"
