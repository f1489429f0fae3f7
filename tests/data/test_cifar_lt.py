"""CIFAR-LT: selection of a long tail, the files that torchvision unpacks, and files that are not as they have to be."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10
from torchvision.transforms import v2

from eqbench import plugins
from eqbench.data import cifar_lt
from eqbench.data.base import Draw
from eqbench.data.cifar_files import read_batch
from eqbench.data.cifar_files.examination import checksums
from eqbench.data.cifar_lt import CIFARLT, long_tail
from eqbench.data.verification import Findings
from eqbench.errors import InputError

FOLDER = "cifar-10-batches-py"
PER_CLASS = 20


class Call:
    """Its pickle calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def batch(labels: list[int], seed: int) -> dict[str, Any]:
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return {"data": images, "labels": labels, "batch_label": "a batch", "filenames": ["x.png"] * len(labels)}


def dump(file: Path, content: Any, protocol: int = 2) -> None:
    file.write_bytes(pickle.dumps(content, protocol))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """CIFAR-10 with 20 training images and 3 test images of each class, in files of all protocols of pickle."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    labels = np.random.default_rng(1).permutation(np.arange(10 * PER_CLASS) % 10).reshape(5, -1)
    for number, part in enumerate(labels, 1):
        dump(folder / f"data_batch_{number}", batch(part.tolist(), number), protocol=min(number, 4))
    dump(folder / "test_batch", batch([label for label in range(10) for _ in range(3)], 9), protocol=5)
    dump(folder / "batches.meta", {"label_names": [f"class {label}" for label in range(10)]})
    return tmp_path


def cifar(root: Path, **options: Any) -> CIFARLT:
    data: CIFARLT = plugins.construct(
        "dataset", "cifar_lt", {"root": str(root), "classes": 10, "imbalance_factor": 10, **options}
    )
    return data


def test_published_counts_of_the_long_tail() -> None:
    hundred = long_tail(500, 100, 100, "exponential")
    assert (hundred[0], hundred[-1], sum(hundred)) == (500, 5, 10847)
    ten = long_tail(5000, 10, 100, "exponential")
    assert (ten[0], ten[-1], sum(ten)) == (5000, 50, 12406)
    assert long_tail(5000, 10, 10, "step") == [5000] * 5 + [500] * 5


def test_images_are_those_of_torchvision(root: Path) -> None:
    data = cifar(root, imbalance_factor=1)
    reader = CIFAR10.__new__(CIFAR10)  # its constructor wants the published checksums
    files = sorted((root / FOLDER).glob("data_batch_*"))
    images = np.concatenate([pickle.loads(file.read_bytes(), encoding="latin1")["data"] for file in files])
    reader.data = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    reader.targets = data.train.labels.tolist()
    reader.transform, reader.target_transform = v2.PILToTensor(), None
    for index in (0, 57, 199):
        assert torch.equal(data.train.images[index], reader[index][0])


def test_selection_is_long_tailed_seeded_and_of_the_right_classes(root: Path) -> None:
    data = cifar(root)
    assert data.class_counts.tolist() == long_tail(PER_CLASS, 10, 10, "exponential")
    assert cifar(root, imbalance="step").class_counts.tolist() == [20] * 5 + [2] * 5
    whole = cifar(root, imbalance_factor=1).train
    labels = {image.numpy().tobytes(): int(label) for image, label in zip(whole.images, whole.labels, strict=True)}
    assert len(labels) == 10 * PER_CLASS
    selected = [image.numpy().tobytes() for image in data.train.images]
    assert [labels[image] for image in selected] == data.train.labels.tolist()
    assert len(set(selected)) == len(selected)
    assert cifar(root).digest == data.digest != cifar(root, selection_seed=1).digest
    assert cifar(root, padding=0, mixup=1.0).digest == data.digest
    assert len(data.eval) == 30


def test_samples_equal_torchvision_s_transforms_with_the_same_seed(root: Path) -> None:
    data = cifar(root)
    transform = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    for seed in range(20):
        image, label, _ = data.train[Draw(seed, seed)]
        torch.manual_seed(seed)
        assert torch.equal(image, transform(data.train.images[seed]))
        assert label == data.train.labels[seed]
    images, labels = data.eval.collate([data.eval[Draw(number, 0)] for number in range(30)])
    assert torch.equal(images, data.eval.images)
    assert torch.equal(labels, data.eval.labels)


def test_batches_mixed_and_of_zero_samples(root: Path) -> None:
    plain, mixed = cifar(root).train, cifar(root, cutmix=1.0).train
    assert [part.shape for part in plain.collate([])] == [(0, 3, 32, 32), (0,)]
    assert [part.shape for part in mixed.collate([])] == [(0, 3, 32, 32), (0, 10)]
    images, labels = mixed.collate([mixed[Draw(index, 5)] for index in (0, -1)])
    assert (images.dtype, labels.shape) == (torch.float32, (2, 10))
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(2))
    assert 0 < labels[0].max() < 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"imbalance_factor": 0.5}, "imbalance_factor 0.5: expected a number of at least 1"),
        ({"padding": 33}, "padding 33"),
        ({"flip": -1.0}, "flip -1.0"),
        ({"selection_seed": -1}, "selection_seed -1"),
        ({"mixup": -1.0}, "mixup -1.0"),
    ],
)
def test_options_out_of_range_are_refused(root: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        cifar(root, **options)


def test_an_imbalance_that_would_leave_a_class_without_images_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=rf"{FOLDER}: imbalance_factor 21, expected at most 20, the training images"):
        _ = cifar(root, imbalance_factor=21).class_counts


# -- files that are not as they have to be -----------------------------------------------------------------------


def change(name: str, **entries: Any) -> Callable[[Path], None]:
    """Replaces entries of a file's dictionary; `...` removes one."""

    def apply(folder: Path) -> None:
        content = pickle.loads((folder / name).read_bytes()) | entries
        dump(folder / name, {key: value for key, value in content.items() if value is not ...})

    return apply


def cut(name: str, share: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return apply


def nest(name: str, **entries: Any) -> Callable[[Path], None]:
    """As `change`, with 100,000 lists in one another in place of "NESTED"; `pickle` reads, but does not write those."""

    def apply(folder: Path) -> None:
        change(name, **entries)(folder)
        parts = (folder / name).read_bytes().split(b"X\x06\0\0\0NESTED")
        (folder / name).write_bytes((b"]" * 100_000 + b"a" * 99_999).join(parts))
        assert len(parts) == 2

    return apply


FORTY = list(range(10)) * 4
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "file missing": (lambda folder: (folder / "data_batch_3").unlink(), "data_batch_3: no such file"),
    "cut off": (cut("data_batch_2", 0.5), "data_batch_2: not a pickle of CIFAR, or cut off"),
    "empty": (cut("test_batch", 0), "test_batch: not a pickle of CIFAR"),
    "text": (lambda folder: (folder / "test_batch").write_text("<html>"), "test_batch: not a pickle"),
    "no dictionary": (lambda folder: dump(folder / "test_batch", [1, 2]), "test_batch: holds a list; expected a dict"),
    "fine labels": (change("data_batch_1", labels=..., fine_labels=FORTY), "data_batch_1: has no 'labels'"),
    "label out of range": (
        change("data_batch_1", labels=[*FORTY[:-1], 10]),
        r"data_batch_1: labels: 10 of image 39; expected a whole number, 0 to 9",
    ),
    "label negative": (change("data_batch_1", labels=[-1, *FORTY[1:]]), "-1 of image 0"),
    "label a fraction": (change("data_batch_1", labels=[0.5, *FORTY[1:]]), "0.5 of image 0"),
    "label missing": (change("data_batch_1", labels=FORTY[1:]), "labels: 39 of them; expected one for each of 40"),
    "no labels": (change("data_batch_1", labels=None), "labels: they are a NoneType; expected one for each"),
    "other size": (change("data_batch_1", data=np.zeros((40, 12), np.uint8)), r"data is uint8 of shape \(40, 12\)"),
    "floats": (change("data_batch_1", data=np.zeros((40, 3072))), "data is float64 of shape"),
    "no array": (change("data_batch_1", data="pixels"), "data is a str; expected an array"),
    "label a matrix": (
        change("data_batch_1", labels=np.zeros((40, 1), int)),
        r"labels: they are int64 of shape \(40, 1",
    ),
    "labels one number": (
        change("data_batch_1", labels=np.array(7)),
        r"labels: they are int64 of shape \(\); expected",
    ),
    "label nested": (
        nest("data_batch_1", labels=[*FORTY[:-1], "NESTED"]),
        "labels: a list of image 39; expected a whole",
    ),
    "label of many digits": (change("data_batch_1", labels=[10**5000, *FORTY[1:]]), "labels: a int of image 0; exp"),
    "label a text": (change("data_batch_1", labels=["cat", *FORTY[1:]]), "labels: a str of image 0"),
    "key a number": (
        lambda folder: dump(folder / "data_batch_1", batch(FORTY, 1) | {10**5000: 1}),
        "data_batch_1: has a int for a key; expected names",
    ),
    "names nested": (nest("batches.meta", label_names=["NESTED"] * 10), "label_names is not a list of 10 names"),
    "names missing": (lambda folder: (folder / "batches.meta").unlink(), "batches.meta: no such file"),
    "names": (change("batches.meta", label_names=["a"]), "label_names is not a list of 10 names"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused_and_found(root: Path, fault: str) -> None:
    apply, expected = FAULTS[fault]
    apply(root / FOLDER)
    with pytest.raises(InputError, match=expected):
        _ = cifar(root).digest
    found = Findings()
    assert cifar_lt.examine(root, found, miniature=True) is None
    assert not found.ok


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_something_does_not(root: Path, protocol: int) -> None:
    target = root / "made by the pickle"
    dump(root / FOLDER / "data_batch_1", {"data": Call(os.mkdir, str(target)), "labels": []}, protocol)
    with pytest.raises(InputError, match=r"data_batch_1: .*calls (posix|nt)\.mkdir"):
        _ = cifar(root).digest
    assert not target.exists()


def test_random_damage_is_refused_or_read_and_nothing_else(root: Path) -> None:
    """Three bytes of what is no pixel: the beginning of the file, or labels and names behind the pixels."""
    file = root / FOLDER / "data_batch_1"
    change(file.name, filenames=...)(root / FOLDER)
    content = file.read_bytes()
    behind = content.index(b"labels")
    assert behind > 40 * 3072
    random = np.random.default_rng(0)
    refused = {"beginning": 0, "labels": 0}
    messages = []
    for part, span in (("beginning", range(200)), ("labels", range(behind, len(content)))) * 100:
        damaged = bytearray(content)
        for position in random.choice(span, size=3, replace=False):
            damaged[position] ^= random.integers(1, 256)
        file.write_bytes(damaged)
        try:
            read = read_batch(file, 10)
        except InputError as error:
            messages.append(str(error))
            refused[part] += 1
            continue
        assert (read.images.dtype, read.labels.dtype, read.images.shape[1:]) == (np.uint8, np.int64, (3, 32, 32))
        assert len(read.images) == len(read.labels)
        assert set(read.labels.tolist()) <= set(range(10))
    assert min(refused.values()) > 50, refused
    assert all(message.startswith(f"{file}: ") and "\n" not in message for message in messages)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), "cifar-10-batches-py: no such folder; get the Python version of CIFAR-10"),
        (("cifar-10-batches-bin",), "cifar-10-batches-bin is there, which is not the Python version"),
        (
            ("cifar-10-python.tar.gz",),
            r"cifar-10-python\.tar\.gz is there, which is not the Python version, or not unp",
        ),
        (("cifar-100-python",), "cifar-100-python is there, which is CIFAR-100: set classes: 100"),
    ],
)
def test_what_is_there_instead_is_named(tmp_path: Path, there: tuple[str, ...], expected: str) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=expected):
        cifar(tmp_path)


# -- examination -------------------------------------------------------------------------------------------------


def test_an_examination_describes_what_training_sees(root: Path) -> None:
    found = Findings()
    contents = cifar_lt.examine(root, found, miniature=True)
    assert contents is not None
    assert found.ok
    assert found.notes["imbalance factor"].number == 1
    assert contents.digest == cifar(root, imbalance_factor=PER_CLASS).digest
    assert contents.counts["train"].tolist() == long_tail(PER_CLASS, 10, PER_CLASS, "exponential")
    assert contents.counts["test"].tolist() == [3] * 10
    files = [path for files in contents.files.values() for path in files]
    assert sorted(files) == sorted(f"{FOLDER}/{file.name}" for file in (root / FOLDER).iterdir())
    assert [contents.decode(root, path) for path in files] == [[]] * 7
    (root / FOLDER / "test_batch").write_bytes(b"")
    ((kind, text),) = contents.decode(root, f"{FOLDER}/test_batch")
    assert (kind, text[: len(FOLDER)]) == ("damaged files", FOLDER)


def test_other_files_than_the_published_ones_are_found(root: Path) -> None:
    assert set(checksums(10)) == {f"{FOLDER}/{file.name}" for file in (root / FOLDER).iterdir()}
    found = Findings()
    assert cifar_lt.examine(root, found) is not None
    assert found.problems["files other than the published ones"].number == 7
    assert found.problems["counts"].items == [
        f"{FOLDER}: 200 train images, expected 50,000",
        f"{FOLDER}: 30 test images, expected 10,000",
    ]
    assert found.problems["images of a class"].number == 20


@pytest.mark.parametrize("miniature", [False, True])
def test_every_missing_file_is_a_problem(root: Path, miniature: bool) -> None:
    missing = [f"{FOLDER}/data_batch_2", f"{FOLDER}/batches.meta"]
    for path in missing:
        (root / path).unlink()
    found = Findings()
    assert cifar_lt.examine(root, found, miniature=miniature) is None
    assert found.problems["files missing"].items == [f"{path}: no such file" for path in missing]
    assert "download=True" in found.problems["files missing"].advice
    with pytest.raises(InputError, match=f"missing: {', '.join(missing)}; get the Python version of CIFAR-10 from"):
        cifar_lt.prepare(root)


def test_names_that_are_none_are_found_by_preparing_too(root: Path) -> None:
    change("batches.meta", label_names=["a"])(root / FOLDER)
    with pytest.raises(InputError, match="label_names is not a list of 10 names"):
        cifar_lt.prepare(root)


def test_one_damaged_version_does_not_hide_the_other(root: Path) -> None:
    (root / "cifar-100-python").mkdir()
    (root / "cifar-100-python" / "train").touch()
    (root / FOLDER / "data_batch_1").write_bytes(b"")
    found = Findings()
    assert cifar_lt.examine(root, found, miniature=True) is None
    assert found.problems["files missing"].items == [
        f"cifar-100-python/{name}: no such file" for name in ("meta", "test")
    ]
    assert "data_batch_1: not a pickle" in found.problems["files"].items[0]
    dump(root / FOLDER / "data_batch_1", batch(FORTY, 1))
    found = Findings()
    contents = cifar_lt.examine(root, found, miniature=True)
    assert contents is not None
    assert len(contents.class_names) == 10
    assert list(found.problems) == ["files missing"]


def test_a_class_without_images_is_found(root: Path) -> None:
    for number in range(1, 6):
        change(f"data_batch_{number}", labels=[1] * 40)(root / FOLDER)
    found = Findings()
    assert cifar_lt.examine(root, found, miniature=True) is None
    assert found.problems["images of a class"].items[0] == f"{FOLDER}: class 0: 0 train images, expected 1"


def test_test_images_that_are_trained_on_are_a_note(root: Path) -> None:
    train = pickle.loads((root / FOLDER / "data_batch_1").read_bytes())["data"]
    test = batch([label for label in range(10) for _ in range(3)], 9)["data"]
    test[[4, 7]] = train[[0, 1]]
    change("test_batch", data=test)(root / FOLDER)
    found = Findings()
    assert cifar_lt.examine(root, found, miniature=True) is not None
    assert found.notes["test images that are training images"].items == [f"{FOLDER}: 2: number 4, 7"]


def test_preparing_says_what_there_is(root: Path) -> None:
    lines = cifar_lt.prepare(root)
    assert lines[0] == f"CIFAR-10: {root / FOLDER}: 200 training images, 30 test images"
