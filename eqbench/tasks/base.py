"""What a task owns: model, training and evaluation data, the training step, the evaluation.

The training loop knows these five members and nothing of images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch import Tensor, nn

from eqbench import plugins
from eqbench.data.base import Dataset, Samples
from eqbench.losses.base import Loss
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Plugin, RunSpec


@dataclass(frozen=True)
class Evaluation:
    """Named numbers of one evaluation.

    `metrics`: main metric first, in the order of `Task.metrics`; a number that does not exist is NaN.
    `per_class`: columns of equal length C with at least `class_id`, `class_name`, `group`, `count` (training).
    `warnings`: what a reader of the numbers should know.
    `tables`: further files, each columns of equal length by name, e.g. what was predicted for each image.
    """

    metrics: dict[str, float]
    per_class: dict[str, list[Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tables: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict, compare=False)


class Evaluator(ABC):
    """Collects this rank's share of the evaluation data, then computes the numbers from the shares of all ranks."""

    @abstractmethod
    def update(self, model: nn.Module, batch: Any) -> None:
        """Predict one batch (eval mode, no gradient) and keep what the numbers need."""

    @abstractmethod
    def state(self) -> Any:
        """This rank's share, picklable."""

    @abstractmethod
    def compute(self, states: Sequence[Any]) -> Evaluation:
        """The numbers, from the states of all ranks."""


class Task(ABC):
    """One family of tasks over one data set, with one model and one loss.

    The keyword-only arguments of the constructor after `loss` are the YAML schema of the task's own options.
    """

    version: ClassVar[int]
    """Raised whenever a change makes results incomparable with earlier ones."""
    metrics: ClassVar[tuple[str, ...]]
    """Names of the reported numbers, main one first; for all of them higher is better."""
    protocol: str
    """How the numbers are computed, e.g. `"accuracy:last"`. Different protocols never share a column. The class has
    one; an instance has another where an option of the task changes how it judges."""

    def __init__(self, data: Dataset, model: Plugin, loss: Plugin) -> None:
        self.data = data
        self.model = model
        self.loss = loss

    @property
    def train_data(self) -> Samples:
        return self.data.train

    @property
    def eval_data(self) -> Samples:
        return self.data.eval

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Network and loss in one module, initialised from the global random state."""

    @abstractmethod
    def step(self, model: nn.Module, batch: Any, normalizer: float) -> dict[str, Tensor]:
        """Named losses of one micro-batch; their sum is trained.

        Args:
            model: what `build_model` returned, possibly wrapped (DDP).
            batch: what `train_data.collate` returned, on the model's device; may hold zero samples.
            normalizer: samples of the whole optimizer step divided by the number of workers. Dividing a sum over
                this worker's samples by it makes the average over workers, which DDP takes, and the sum over
                micro-batches equal the mean over the global batch, whatever the shares.
        """

    @abstractmethod
    def evaluator(self, folder: RunFolder) -> Evaluator:
        """A fresh evaluator; `folder` is the run's, for what it keeps beside the numbers."""

    def build_loss(self) -> Loss:
        """The loss of the run for the classes of the data.

        Raises:
            InputError: it does not exist, or parameters do not fit its constructor.
            ValueError: a parameter's value is not possible.
        """
        from eqbench.tasks import build_loss

        return build_loss(self.loss, self.data)

    def check_data(self) -> None:  # noqa: B027  (most data sets check themselves when they are constructed)
        """Refuse, before anything starts, data that could not be evaluated on.

        Raises:
            InputError, ValueError: what is wrong with them.
        """

    def check_model(self) -> None:
        """Refuse, before anything starts, a model that could not be built; builds none.

        Raises:
            InputError, ValueError: what is wrong with it.
        """
        plugins.load("model", self.model.name)

    def check_origin(self, parent: RunSpec | None) -> None:
        """Refuse, before anything starts, to start from the weights of a run that do not fit, or from none.

        Args:
            parent: the run whose weights this one starts from, if it does.

        Raises:
            InputError, ValueError: the reason.
        """
        if parent is not None:
            raise ValueError(f"{self.model.name} does not start from another run's weights")

    def check_loss(self) -> None:
        """Refuse, before anything starts, a loss that does not fit task or model.

        Raises:
            InputError, ValueError: the reason.
        """
        if self.build_loss().uses_quality:
            raise ValueError(f"needs the quality of boxes, which {type(self).__name__.lower()} has not")
