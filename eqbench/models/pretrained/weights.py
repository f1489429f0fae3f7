"""Weights that a backbone starts from: torchvision's by name, or a file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

TORCHVISION = "torchvision:"


def find_weights(name: str) -> Path:
    """The file of `torchvision:ResNet50_Weights.IMAGENET1K_V1`, or of a path.

    Raises:
        InputError: torchvision knows no such weights, or the file is not there.
    """
    if not name.startswith(TORCHVISION):
        if not Path(name).is_file():
            raise InputError(f"backbone_weights: {name}: no such file")
        return Path(name)
    import torch
    from torchvision.models import get_model_weights, get_weight, list_models

    known = [str(weights) for model in list_models() for weights in get_model_weights(model)]
    wanted = name.removeprefix(TORCHVISION)
    if wanted not in known:
        raise InputError(f"backbone_weights: {name!r}: torchvision has no such weights{nearest(wanted, known)}")
    url = str(get_weight(wanted).url)
    file = Path(str(torch.hub.get_dir())) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        raise InputError(
            f"backbone_weights: {name!r}: {file} is missing; download {url} to it, or, with internet, run: "
            f'python -c "import torchvision; torchvision.models.get_weight({wanted!r}).get_state_dict()"'
        )
    return file


def content_digest(name: str | None) -> str | None:
    """Twelve hexadecimal digits of the SHA-256 of a file of weights; None for torchvision's, which their name pins."""
    if name is None or not Path(name).is_file():
        return None
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def load_weights(backbone: nn.Module, name: str) -> None:
    """Loads a file into a backbone; the file's classifier (`fc.`, `classifier.`) is left out.

    Raises:
        InputError: the file is missing or unreadable, or its tensors are not those of this backbone.
    """
    backbone.load_state_dict(_fitting(backbone, find_weights(name)))


def check_weights(backbone: Callable[[], nn.Module], name: str) -> None:
    """Whether a file is there and has the tensors of the network that `backbone` makes; that is made without memory.

    Raises:
        InputError: it is not, or has not.
    """
    import torch

    file = find_weights(name)
    with torch.device("meta"):
        made = backbone()
    _fitting(made, file)


def _fitting(backbone: nn.Module, file: Path) -> dict[str, Tensor]:
    """The file's tensors, which are those of the backbone."""
    given = _read(file)
    expected = backbone.state_dict()
    where = f"backbone_weights: {file}"
    kind = type(backbone).__name__
    for name in sorted(expected):
        if name.endswith("num_batches_tracked") and name not in given:
            given[name] = expected[name]
        if name not in given:
            raise _error(where, f"has no {name!r}, which this {kind} has", name, given)
        if given[name].shape != expected[name].shape:
            shapes = f"{tuple(given[name].shape)}, expected {tuple(expected[name].shape)}"
            raise _error(where, f"{name!r} has shape {shapes}", name, expected)
    for name in sorted(given):
        if name not in expected:
            raise _error(where, f"has {name!r}, which this {kind} has not", name, expected)
    return given


def _error(where: str, problem: str, name: str, others: Any) -> InputError:
    hint = "" if name in others else nearest(name, list(others)[:2000]).replace("did you mean", "the nearest is")
    return InputError(f"{where}: {problem}{hint.removesuffix('?')}: weights of another network?")


def _read(file: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # whatever a damaged or foreign file makes of the unpickler
        reason = str(error).split("\n")[0]
        raise InputError(
            f"backbone_weights: {file}: not a file of tensors ({type(error).__name__}: {reason})"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(part, torch.Tensor) for part in content.values()):
        raise InputError(f"backbone_weights: {file}: expected a mapping of names to tensors")
    if any(key.startswith("network.backbone.") for key in content):
        raise InputError(f"backbone_weights: {file}: a checkpoint of eqbench; name its run with start_from instead")
    content = _without("module.", content)  # of DataParallel
    content = _without("backbone.", {key: content[key] for key in content if key.startswith("backbone.")}) or content
    content = _without("features.", content)  # of torchvision's MobileNets
    return {key: part for key, part in content.items() if not key.startswith(("fc.", "classifier."))}


def _without(prefix: str, content: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): part for key, part in content.items()}
