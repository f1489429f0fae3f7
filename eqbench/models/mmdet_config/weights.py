"""Weights that a backbone starts from: torchvision's by name, or a file."""

from __future__ import annotations

from collections.abc import Mapping
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


def check_weights(name: str, backbone: Mapping[str, Any]) -> None:
    """Whether weights are there, and of the kind that a backbone's configuration wants. Does not open the file.

    Raises:
        InputError: they are not.
    """
    find_weights(name)
    if name.startswith(TORCHVISION) and backbone.get("style") == "caffe":
        raise InputError(
            f"backbone_weights: {name!r}: the configuration's backbone is of style caffe, which strides elsewhere "
            "and takes other colours; choose the configuration of style pytorch, or weights of style caffe from a file"
        )


def load_weights(backbone: nn.Module, name: str) -> None:
    """Loads a file into a backbone; the file's classifier (`fc.`) is left out.

    Raises:
        InputError: the file is missing or unreadable, or its tensors are not those of this backbone.
    """
    file = find_weights(name)
    given = _read(file)
    expected = backbone.state_dict()
    for key in sorted(expected):
        if key.endswith("num_batches_tracked") and key not in given:
            given[key] = expected[key]
        if key not in given:
            raise _error(file, f"has no {key!r}, which this {type(backbone).__name__} has", key, given)
        if given[key].shape != expected[key].shape:
            shapes = f"{tuple(given[key].shape)}, expected {tuple(expected[key].shape)}"
            raise _error(file, f"{key!r} has shape {shapes}", key, expected)
    for key in sorted(given):
        if key not in expected:
            raise _error(file, f"has {key!r}, which this {type(backbone).__name__} has not", key, expected)
    backbone.load_state_dict(given)


def _error(file: Path, problem: str, key: str, others: Any) -> InputError:
    hint = "" if key in others else nearest(key, list(others)[:2000]).replace("did you mean", "the nearest is")
    return InputError(f"backbone_weights: {file}: {problem}{hint.removesuffix('?')}: weights of another network?")


def _read(file: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes of the unpickler
        reason = str(error).split("\n")[0]
        raise InputError(
            f"backbone_weights: {file}: not a file of tensors ({type(error).__name__}: {reason})"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(part, torch.Tensor) for part in content.values()):
        raise InputError(f"backbone_weights: {file}: expected a mapping of names to tensors")
    if any(key.startswith("backbone.") for key in content):
        content = {key.removeprefix("backbone."): part for key, part in content.items() if key.startswith("backbone.")}
    return {key: part for key, part in content.items() if not key.startswith("fc.")}
