"""The import of mmdet: with torchvision's operators, without its chatter."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings


@functools.cache
def import_mmdet() -> None:
    """Imports mmdet and registers its models and transforms by name. Takes seconds the first time.

    Raises:
        EnvironmentProblem: mmcv is missing.
    """
    from eqbench.models import mmcv_ops

    mmcv_ops.install()
    with contextlib.redirect_stdout(io.StringIO()):  # what it prints is about data sets of no use here
        import mmdet.datasets.transforms
        import mmdet.models  # noqa: F401
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"mmdet\.")  # of its own deprecated attributes
    warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)
