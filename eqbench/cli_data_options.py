"""The options of `eqbench data` that belong to some data sets only: declared once, offered by several verbs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

Options = Mapping[str, Any]
"""What was given of `DECLARED`; None for the rest."""

PANEL = "Options of single data sets"
DECLARED: dict[str, Any] = {
    "version": Annotated[str | None, typer.Option(help="Of lvis: v1 or v0.5.", rich_help_panel=PANEL)],
    "masks": Annotated[
        bool | None,
        typer.Option("--masks/--no-masks", help="Of lvis, coco_format: has polygons.", rich_help_panel=PANEL),
    ],
    "train_annotations": Annotated[
        str | None, typer.Option(help="Of coco_format: json file below the root.", rich_help_panel=PANEL)
    ],
    "eval_annotations": Annotated[
        str | None, typer.Option(help="Of coco_format: json file below the root.", rich_help_panel=PANEL)
    ],
    "train_images": Annotated[
        str | None, typer.Option(help="Of coco_format: folder below the root.", rich_help_panel=PANEL)
    ],
    "eval_images": Annotated[
        str | None, typer.Option(help="Of coco_format: folder below the root.", rich_help_panel=PANEL)
    ],
    "common_above": Annotated[
        int | None, typer.Option(help="Of coco_format: training images above which r is c.", rich_help_panel=PANEL)
    ],
    "frequent_above": Annotated[
        int | None, typer.Option(help="Of coco_format: training images above which c is f.", rich_help_panel=PANEL)
    ],
    "eval_split": Annotated[
        str | None,
        typer.Option(help="Of imagenet_lt, places_lt, image_folder, mask_folder: val or test.", rich_help_panel=PANEL),
    ],
    "classes": Annotated[int | None, typer.Option(help="Of cifar_lt: 10 or 100.", rich_help_panel=PANEL)],
    "imbalance_factor": Annotated[
        float | None, typer.Option(help="Of cifar_lt: largest class to smallest.", rich_help_panel=PANEL)
    ],
    "imbalance": Annotated[str | None, typer.Option(help="Of cifar_lt: exponential or step.", rich_help_panel=PANEL)],
    "selection_seed": Annotated[
        int | None, typer.Option(help="Of cifar_lt: picks the training images.", rich_help_panel=PANEL)
    ],
    "ignore": Annotated[
        int | None, typer.Option(help="Of mask_folder: the value that counts nowhere.", rich_help_panel=PANEL)
    ],
    "reduce_zero": Annotated[
        bool | None,
        typer.Option(
            "--reduce-zero/--keep-zero", help="Of mask_folder: value 0 counts nowhere.", rich_help_panel=PANEL
        ),
    ],
}


def with_data_set_options(verb: Callable[..., None]) -> Callable[..., None]:
    """A command that takes all of `DECLARED` and hands them to `verb` in its argument `options`."""
    signature = inspect.signature(verb, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "options"]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, kind, default=None, annotation=hint) for name, hint in DECLARED.items()]

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        options = {name: given.pop(name) for name in DECLARED}
        verb(**given, options=options)

    parameters = [*(parameter.replace(kind=kind) for parameter in own), *added]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(command)["__signature__"] = signature.replace(parameters=parameters)
    return command
