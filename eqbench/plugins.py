"""Finds losses, tasks, models and data sets by name and binds their parameters.

A plugin is a file in its kind's package; its name is the file's. The first name in the file's `__all__` is
the plugin class, whose constructor's signature is the YAML schema. `package.module:Class` names a class
outside eqbench. Importing this module, `names` and `describe` import neither torch nor the plugins.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import sys
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from eqbench.errors import EnvironmentProblem, InputError, nearest
from eqbench.validation import Problem, dotted, expectation, explain, show, wrong_length

if TYPE_CHECKING:
    from pydantic import ValidationError

KindName = Literal["loss", "task", "model", "dataset"]


@dataclass(frozen=True)
class Kind:
    """Where the plugins of one kind live, what they are, and which of their parameters are not the user's."""

    folder: str
    base: str
    support: frozenset[str]
    supplied: frozenset[str]
    attributes: tuple[str, ...] = ()


KINDS: dict[KindName, Kind] = {
    "loss": Kind(
        folder="losses",
        base="eqbench.losses.base:Loss",
        support=frozenset(
            {
                "arguments",
                "base",
                "batch",
                "class_counts",
                "closed_form",
                "columns",
                "exact_buffers",
                "sigmoid",
                "softmax",
                "statistics",
            }
        ),
        supplied=frozenset({"num_classes", "class_counts", "class_frequency", "ignore_index", "background"}),
    ),
    "task": Kind(
        folder="tasks",
        base="eqbench.tasks.base:Task",
        support=frozenset({"base"}),
        supplied=frozenset({"data", "model", "loss"}),
        attributes=("version", "metrics", "protocol"),
    ),
    "model": Kind(
        folder="models",
        base="torch.nn:Module",
        support=frozenset({"resnet"}),
        supplied=frozenset({"num_classes", "in_channels", "loss", "build_loss"}),
    ),
    "dataset": Kind(
        folder="data",
        base="eqbench.data.base:Dataset",
        support=frozenset({"base", "detection", "samplers", "segmentation", "transformed_images"}),
        supplied=frozenset(),
    ),
}


class ParameterError(InputError):
    """Parameters that a plugin's constructor does not take; `problems` holds (path, message) pairs."""

    def __init__(self, where: str, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{where}.{dotted(path)}: {message}" for path, message in problems))
        self.problems = problems


def names(kind: KindName) -> list[str]:
    """Names of the plugins that eqbench has of a kind, sorted.

    >>> "cross_entropy" in names("loss")
    True
    """
    stems = {file.stem for file in _folder(kind).glob("[!_]*.py")}
    return sorted(stems - KINDS[kind].support)


def describe(kind: KindName, name: str) -> str:
    """First line of the plugin class's docstring, or else of its file's; read without importing."""
    module = ast.parse((_folder(kind) / f"{name}.py").read_text(encoding="utf-8"))
    plugin_class = ""
    for statement in module.body:
        match statement:
            case ast.Assign([ast.Name("__all__")], ast.List([ast.Constant(str(first)), *_])):
                plugin_class = first
    texts = [ast.get_docstring(module)]
    for statement in module.body:
        if isinstance(statement, ast.ClassDef) and statement.name == plugin_class:
            texts.insert(0, ast.get_docstring(statement))
    return next((text.split("\n")[0] for text in texts if text), "")


def load(kind: KindName, name: str) -> type[Any]:
    """The class of a plugin, by file name or as `package.module:Class`.

    Raises:
        InputError: there is no such plugin, module or class, or it is not of this kind.
        EnvironmentProblem: a package that one of eqbench's own plugins needs cannot be imported.
    """
    if ":" in name:
        return _load_outside(kind, name)
    known = names(kind)
    if name not in known:
        raise InputError(
            f"unknown {kind} {name!r}{nearest(name, known)} "
            f"(known: {', '.join(known)}; elsewhere: package.module:Class)"
        )
    module_name = f"eqbench.{KINDS[kind].folder}.{name}"
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EnvironmentProblem(
            f"{kind} {name!r} cannot be imported here: {error}; `eqbench doctor` tells what to install"
        ) from error
    return _checked(kind, name, getattr(module, module.__all__[0]))


def source_digest(cls: type[Any]) -> str | None:
    """Twelve hexadecimal digits of the SHA-256 of the file that defines a class; None for eqbench's own classes.

    Changes of eqbench's own that make results incomparable raise a task's version instead.
    """
    if cls.__module__.partition(".")[0] == "eqbench":
        return None
    file = inspect.getsourcefile(cls)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12] if file else None


def source_of(cls: type[Any], params: Mapping[str, Any]) -> str | None:
    """`source_digest`; for a class that names files in its parameters, that of their content too (`source_of`)."""
    parts = [source_digest(cls), cls.source_of(params) if hasattr(cls, "source_of") else None]
    return "".join(part for part in parts if part) or None


def bind(cls: type[Any], params: Mapping[str, Any], *, where: str, supplied: Collection[str] = ()) -> dict[str, Any]:
    """Check `params` against the constructor of `cls` and fill in its defaults.

    Args:
        cls: a plugin class. Where its constructor takes `**kwargs`, its base classes' parameters count too.
        params: plain data from a YAML file. A whole number where a float is expected becomes a float, a list
            where a tuple is expected a tuple, text where a path is expected a path; no other conversion.
        where: place of `params` in the file, for messages.
        supplied: parameters that the task provides; they may not be in `params` and are not in the result.

    Raises:
        ParameterError: an unknown, missing or supplied parameter, or a wrong type; lists them all.
    """
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    signature = {key: value for key, value in parameters(cls).items() if key not in supplied}
    bound: dict[str, Any] = {}
    problems: list[Problem] = [
        ((key,), _refusal(cls, key, signature, supplied)) for key in params if key not in signature
    ]
    for key, parameter in signature.items():
        if key not in params and parameter.default is parameter.empty:
            problems.append(((key,), f"missing, but {cls.__name__} requires it"))
            continue
        value = params.get(key, parameter.default)
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
            bound[key] = adapter.validate_json(_as_json(value), strict=True)
        except ValidationError as error:
            problems.append(_wrong_type(key, error, value, parameter.annotation))
        except (PydanticUserError, ValueError) as error:
            reason = str(error).split("\n")[0]
            problems.append(((key,), f"{cls.__name__} cannot be set from a file: {reason}"))
    if problems:
        raise ParameterError(where, problems)
    return bound


def construct(kind: KindName, name: str, params: Mapping[str, Any], **supplied: Any) -> Any:
    """Load a plugin, bind `params` (also as read back from a run's file) and construct it.

    Of `supplied` the constructor gets what it has parameters for.
    """
    cls = load(kind, name)
    bound = bind(cls, params, where=name, supplied=KINDS[kind].supplied | set(supplied))
    taken = parameters(cls)
    return cls(**bound, **{key: value for key, value in supplied.items() if key in taken})


def parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Named parameters of a constructor, annotations resolved; `**kwargs` stands for the base class's."""
    found: dict[str, inspect.Parameter] = {}
    for owner in cls.__mro__:
        constructor = vars(owner).get("__init__")
        if constructor is None:
            continue
        signature = list(inspect.signature(constructor).parameters.values())[1:]
        hints = _resolved_annotations(owner, constructor)
        for parameter in signature:
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                annotation = hints.get(parameter.name, Any)
                found.setdefault(parameter.name, parameter.replace(annotation=annotation))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature):
            break
    return found


def _folder(kind: KindName) -> Path:
    return Path(__file__).parent / KINDS[kind].folder


def _load_outside(kind: KindName, name: str) -> type[Any]:
    module_name, _, class_name = name.partition(":")
    where = f"{kind} {name!r}"
    if not class_name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise InputError(f"{where}: expected package.module:Class")
    module = _import_outside(module_name, where)
    if not isinstance(found := getattr(module, class_name, None), type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise InputError(f"{where}: {module_name} has no class {class_name!r}{nearest(class_name, classes)}")
    return _checked(kind, name, found)


def _import_outside(module_name: str, where: str) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        parents = [module_name.rsplit(".", n)[0] for n in range(module_name.count(".") + 1)]
        if isinstance(error, ModuleNotFoundError) and error.name in parents:
            raise InputError(
                f"{where}: no module {error.name!r} in the current folder or on the Python path"
            ) from error
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{where}: importing {module_name} failed: {reason}") from error


def _checked(kind: KindName, name: str, found: type[Any]) -> type[Any]:
    base_module, _, base_name = KINDS[kind].base.partition(":")
    base = getattr(importlib.import_module(base_module), base_name)
    if not issubclass(found, base):
        raise InputError(f"{kind} {name!r}: {found.__name__} is not a subclass of {base_module}.{base_name}")
    absent = [attribute for attribute in KINDS[kind].attributes if not hasattr(found, attribute)]
    if absent := sorted(getattr(found, "__abstractmethods__", ())) + absent:
        raise InputError(f"{kind} {name!r}: {found.__name__} does not define {', '.join(absent)}")
    return found


def _resolved_annotations(owner: type[Any], constructor: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(constructor, include_extras=True)
    except (NameError, TypeError) as error:
        raise InputError(f"{owner.__module__}:{owner.__name__}: annotation of its constructor: {error}") from error


def _as_json(value: object) -> bytes:
    from pydantic_core import to_json

    return to_json(value)


def _refusal(cls: type[Any], key: str, known: Collection[str], supplied: Collection[str]) -> str:
    if key in supplied:
        return "is set by the task and cannot be set in a suite"
    return f"unknown parameter of {cls.__name__}{nearest(key, known)} (known: {', '.join(known) or 'none'})"


def _wrong_type(key: str, error: ValidationError, value: object, annotation: object) -> Problem:
    details = error.errors(include_url=False)
    if length := wrong_length(value, annotation):
        return (key,), length
    if len(details) == 1:
        return (key, *details[0]["loc"]), explain(details[0])
    expected = dict.fromkeys(expectation(detail) for detail in details)
    return (key,), f"{show(value)}, expected {' or '.join(expected)}"
