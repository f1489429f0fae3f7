"""Suite files that are broken or wrong, and overrides: one clear message each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eqbench.errors import InputError
from eqbench.suite import Suite, load_suite
from eqbench.suite_yaml import parse

SUITE = """\
name: small
tasks:
  - name: digits
    task: classification
    model: {name: classifier, backbone: resnet8}
    data: digits
    train: {batch_size: 16}
losses: [cross_entropy, softmax_eql]
seeds: [0, 1]
train:
  epochs: 2
  optimizer: {name: sgd, lr: 0.1}
"""


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str | bytes, *overrides: str) -> Suite:
    Path("x.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load_suite("x.yaml", overrides)


def refusal(text: str | bytes, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load(text, *overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E3", 5000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.0", 0.0),
        ("1_000", 1000),
        ("-3", -3),
        ("007", "007"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("", None),
        ("~", None),
        ("'1'", "1"),
        ("<<", "<<"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found, _ = parse(text, "x.yaml")
    assert found == value
    assert type(found) is type(value)


def test_lines() -> None:
    _, sources = parse("a:\n  - b: 1\n  - c\n", "x.yaml")
    assert sources == {("a",): "x.yaml:1", ("a", 0): "x.yaml:2", ("a", 0, "b"): "x.yaml:2", ("a", 1): "x.yaml:3"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: the file is empty, expected a suite: keys name, tasks, losses, seeds, train"),
        ("# only a comment\n", "x.yaml: the file is empty, expected a suite"),
        ("- a\n", "x.yaml: the file holds ['a'], expected a suite"),
        (b"\x89PNG\r\n", "x.yaml: not a text file (byte 0x89 at position 0), expected a suite in YAML"),
        (b"name: \x00", "x.yaml: not a text file (character 0 at position 6), expected a suite in YAML"),
        ("a: [1", "x.yaml:1: not valid YAML: expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: not valid YAML: found character '\\t'"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: not valid YAML: but found another document"),
        ("a: &x 1\nb: *x\n", "x.yaml:2: not valid YAML: aliases are not supported, write the value out"),
        ("a:\n  b: 1\n  b: 2\n", "x.yaml:3: a.b: duplicate key, it is on line 2 already"),
        ("? [1]\n: 2\n", "x.yaml:1: a list or mapping as key, expected text"),
        ("a: !!python/object:os.system {}\n", "x.yaml:1: a: the tag !!python/object:os.system is not supported"),
        ("a: !!int x\n", "x.yaml:1: a: 'x', invalid literal"),
        ("a: .nan\n", "x.yaml:1: a: '.nan', expected a finite number"),
        ("a: 1e999\n", "x.yaml:1: a: '1e999', expected a finite number"),
        ("a: " + "9" * 5000, "expected a number of at most 64 bits"),
        ("[" * 5_000, "x.yaml: lists or mappings are nested too deeply"),
        ("#" * 1_000_001, "x.yaml: 1,000,001 bytes, expected at most 1,000,000"),
    ],
)
def test_not_a_suite(text: str | bytes, message: str) -> None:
    assert refusal(text).startswith(message) or message in refusal(text)
    assert "\n" not in refusal(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2", "epochs: -3", "x.yaml:11: train.epochs: -3, expected at least 1"),
        ("epochs: 2", "epochs: true", "x.yaml:11: train.epochs: true, expected a whole number"),
        ("epochs: 2", "epochs: 1e2", "x.yaml:11: train.epochs: 100.0, expected a whole number"),
        ("epochs: 2", "epochs: 99999999999", "x.yaml:11: train.epochs: 99999999999, expected at most 2147483648"),
        ("epochs: 2", "epocs: 2", "x.yaml:11: train.epocs: unknown key; did you mean 'epochs'?"),
        ("epochs: 2", "batch_size: 4", "x.yaml:10: train: exactly one of 'epochs' and 'iterations' is needed"),
        ("{batch_size: 16}", "{epochs: 1, iterations: 1}", "x.yaml:7: tasks[0].train: exactly one of 'epochs' and"),
        ("lr: 0.1", "lr: fast", "x.yaml:12: train.optimizer.lr: 'fast', expected a number"),
        ("lr: 0.1", "lr: -1", "x.yaml:12: train.optimizer.lr: -1, expected more than 0"),
        ("lr: 0.1", "rl: 1", "x.yaml:12: train.optimizer.rl: unknown key; did you mean 'lr'?"),
        (
            "name: sgd",
            "name: sdg",
            "train.optimizer.name: 'sdg', expected one of 'sgd', 'adamw'; did you mean 'sgd'?",
        ),
        ("{batch_size: 16}", "{batch_size: x}", "x.yaml:7: tasks[0].train.batch_size: 'x', expected a whole number"),
        ("{batch_size: 16}", "{batchsize: 3}", "x.yaml:7: tasks[0].train.batchsize: unknown key"),
        ("{batch_size: 16}", "", "x.yaml:7: tasks[0].train: null, expected a mapping (key: value)"),
        ("losses:", "looses:", "x.yaml:8: looses: unknown key; did you mean 'losses'?"),
        ("losses:", "resources:", "x.yaml: losses: missing, but required"),
        ("[cross_entropy, softmax_eql]", "[]", "x.yaml:8: losses: [], expected 1 or more entries"),
        ("[cross_entropy, softmax_eql]", "[{}]", "x.yaml:8: losses[0].name: missing, but required"),
        ("[cross_entropy, softmax_eql]", "[3]", "x.yaml:8: losses[0]: 3, expected a name or a mapping"),
        ("softmax_eql", "{name: efl, label: a/b}", "x.yaml:8: losses[1].label: 'a/b', expected 1 to 100 letters"),
        ("[0, 1]", "[]", "x.yaml:9: seeds: [], expected 1 or more entries"),
        ("[0, 1]", "[0, 0]", "x.yaml:9: seeds[1]: 0 is in the list already"),
        ("[0, 1]", "[-1]", "x.yaml:9: seeds[0]: -1, expected at least 0"),
        ("[0, 1]", "[true]", "x.yaml:9: seeds[0]: true, expected a whole number"),
        ("[0, 1]", "5", "x.yaml:9: seeds: 5, expected a list"),
        ("name: small", "name: small suite", "x.yaml:1: name: 'small suite', expected 1 to 47 letters"),
        ("name: small", f"name: {'a' * 48}", "expected 1 to 47 letters, digits, '-' or '_'"),
        ("name: small", "name: 7", "x.yaml:1: name: 7, expected text"),
        ("name: digits", "name: a.b", "x.yaml:3: tasks[0].name: 'a.b', expected 1 to 47 letters"),
        ("    data: digits\n", "", "x.yaml:3: tasks[0].data: missing, but required"),
        ("seeds:", "mlflow: {url: x}\nseeds:", "x.yaml:9: mlflow.url: unknown key (known: tracking_uri)"),
        ("seeds:", "resources: {num_workers: 0}\nseeds:", "x.yaml:9: resources.num_workers: 0, expected at least 1"),
        (
            "seeds:",
            "resources: {num_workers: 20}\nseeds:",
            "x.yaml:7: tasks[0].train.batch_size: 16, expected at least 20: a sample for each of 20",
        ),
    ],
)
def test_one_wrong_value(old: str, new: str, message: str) -> None:
    assert old in SUITE
    assert message in refusal(SUITE.replace(old, new, 1))


@pytest.mark.parametrize("uri", ["http://ada:lovelace@mlflow", "http:/ada:lovelace@mlflow", "ada:lovelace@mlflow"])
def test_a_password_in_a_suite_is_refused_and_not_shown(uri: str) -> None:
    said = refusal(SUITE.replace("seeds:", f"mlflow: {{tracking_uri: '{uri}'}}\nseeds:"))
    assert "mlflow' with a user name or password before it" in said
    assert "lovelace" not in said


def test_all_problems_are_listed_once() -> None:
    second = SUITE.replace("losses:", "  - {name: digits, task: a, model: b, data: c}\nlosses:")
    text = second.replace("epochs: 2", "epochs: 0").replace("[0, 1]", "[0, 0]").replace("lr: 0.1", "lr: x")
    assert refusal(text).splitlines() == [
        "x.yaml:12: train.epochs: 0, expected at least 1",
        "x.yaml:13: train.optimizer.lr: 'x', expected a number",
        "x.yaml:8: tasks[1].name: 'digits' is the name of tasks[0] already",
        "x.yaml:10: seeds[1]: 0 is in the list already",
    ]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("train.epochs", "-o train.epochs: expected key=value, e.g. -o train.epochs=2"),
        ("=3", "-o =3: expected key=value"),
        ("train..epochs=3", "-o train..epochs=3: expected key=value"),
        ("train.epochs=[1", "-o train.epochs=[1: not valid YAML: "),
        ("train.epochs=.inf", "-o train.epochs=.inf: '.inf', expected a finite number"),
        ("train.epochs=x", "-o train.epochs=x: train.epochs: 'x', expected a whole number"),
        ("train.epocs=3", "-o train.epocs=3: train.epocs: unknown key; did you mean 'epochs'?"),
        ("trian.epochs=3", "-o trian.epochs=3: trian: unknown key; did you mean 'train'?"),
        ("train.schedule.name=cosin", "-o train.schedule.name=cosin: train.schedule.name: 'cosin', expected"),
        ("tasks.digts.data=x", "-o tasks.digts.data=x: tasks has no entry 'digts'; did you mean 'digits'?"),
        ("seeds.first=1", "-o seeds.first=1: seeds has no entry 'first' (known: none)"),
        ("losses.2.tau=1", "-o losses.2.tau=1: losses has no entry '2' (known: cross_entropy, softmax_eql)"),
        ("seeds=[1, 1]", "-o seeds=[1, 1]: seeds[1]: 1 is in the list already"),
        ("train.batch_size=0", "-o train.batch_size=0: train.batch_size: 0, expected at least 1"),
    ],
)
def test_wrong_override(argument: str, message: str) -> None:
    assert refusal(SUITE, argument).startswith(message)


def test_override_of_two_losses_of_one_name_needs_the_index() -> None:
    text = SUITE.replace("cross_entropy,", "{name: softmax_eql, label: a},")
    assert "losses has 2 entries 'softmax_eql'; say which one by its index, e.g. losses.0" in refusal(
        text, "losses.softmax_eql.tau=2"
    )
    assert load(text, "losses.a.tau=2", "losses.1.tau=3").expand(seeds=[0])[1].loss.params["tau"] == 3.0


@pytest.mark.parametrize("name", ["quikstart", "suites/quikstart.yaml", "no/such/file.yaml"])
def test_file_that_does_not_exist(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_suite(name)
    assert str(caught.value).startswith(f"{name}: there is no such ")
    assert ("did you mean 'quickstart'?" in str(caught.value)) == ("quik" in name)


def test_neither_folder_nor_device_is_a_suite(tmp_path: Path) -> None:
    for path, what in ((tmp_path, "a folder"), (Path(os.devnull), "not a regular file")):
        with pytest.raises(InputError, match=f"is {what}, expected a suite file"):
            load_suite(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file() -> None:
    Path("x.yaml").write_text(SUITE)
    Path("x.yaml").chmod(0)
    with pytest.raises(InputError, match=r"x\.yaml: cannot be read \(Permission denied\)"):
        load_suite("x.yaml")


def test_unreadable_because_the_name_is_impossible() -> None:
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        load_suite("a" * 5000 + ".yaml")
