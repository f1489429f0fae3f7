from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from published_runs import cifar_spec, imagenet_spec, lvis_spec
from written_suites import make_spec, write_run

from eqbench import leaderboard, plugins
from eqbench.cli import app
from eqbench.errors import InputError
from eqbench.leaderboard import published, published_recipes, published_terms, seed_noise, table, verdict
from eqbench.leaderboard.published_match import differences, published_dataset, same_loss
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.tasks.classification import Classification


def record_of(loss: str, place: str, **fields: str) -> published.Published:
    found = [record for record in published.search(loss=loss, **fields) if record.source.place == place]
    assert len(found) == 1
    return found[0]


def fields(spec: RunSpec, record: published.Published) -> list[str]:
    return [difference.field for difference in differences(spec, record)]


def suite_of(storage: Path, *outcomes: tuple[RunSpec, Mapping[str, float | None]]) -> list[RunFolder]:
    folder = SuiteFolder(storage, "published")
    folder.create()
    runs = [write_run(folder, spec, outcome) for spec, outcome in outcomes]
    folder.write_plan([spec for spec, _ in outcomes], "name: published\n")
    return runs


# -- records -------------------------------------------------------------------------------------------------


def test_every_record_of_the_file_is_read_with_its_source() -> None:
    written = yaml.load(published.FILE.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["records"]
    records = published.records()
    assert sum(len(record["metrics"]) for record in written) == 784
    numbers = {(r.loss, name, value) for r in records for name, value in r.metrics.items()}
    for record in written:
        for name, value in record["metrics"].items():
            assert (record["loss"], name.partition("_IF")[0], value) in numbers
    assert all(str(record.source) for record in records)
    assert not any("_IF" in name for record in records for name in record.metrics)


def test_two_imbalance_factors_are_two_data_sets() -> None:
    rows = [r for r in published.search(loss="CDT") if r.dataset.startswith("CIFAR-100")]
    assert {row.dataset: row.metrics for row in rows} == {
        "CIFAR-100-LT IF100": {"top1": 39.59},
        "CIFAR-100-LT IF50": {"top1": 44.83},
    }


def test_a_row_printed_in_several_tables_is_one_record() -> None:
    row = record_of("EQLv2", "tztztztztz/eqlv2", dataset="LVIS v1.0")
    assert (row.metrics["mask_AP"], row.metrics["bbox_AP"], row.metrics["mask_AR"]) == (23.7, 24.2, 32.6)


def test_search() -> None:
    assert {record.model for record in published.search(dataset="imagenet-lt", metric="few")} == {"ResNeXt-50"}
    with pytest.raises(
        InputError, match="dataset 'ImageNetLT': nothing is published of it; did you mean 'ImageNet-LT'"
    ):
        published.search(dataset="ImageNetLT")
    with pytest.raises(InputError, match=r"metric 'mask_APx': .*did you mean 'mask_AP"):
        published.search(metric="mask_APx")
    with pytest.raises(InputError, match=r"'los': expected one of task, .*did you mean 'loss'"):
        published.search(los="CE")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"top1": math.nan}}, "records.0.metrics.top1: "),
        ({"metrics": {}}, "records.0.metrics: "),
        ({"source": {"path": "README.md"}}, "records.0.source: .*neither 'repo' nor 'paper'"),
        ({"optimizer": "sgd"}, "records.0.optimizer: "),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    words = dict.fromkeys(published.FIELDS, "x") | {"task": "classification"}
    record = {**words, "metrics": {"top1": 1.0}, "source": {"paper": "p"}, **change}
    file = tmp_path / "results.yaml"
    file.write_text(
        yaml.safe_dump({"format_version": 1, "compiled": "", "conventions": {}, "missing": [], "records": [record]})
    )
    with pytest.raises(InputError, match=message):
        published.read(file)


def test_a_broken_file_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as published results"):
        published.read(tmp_path / "absent.yaml")


# -- terms ---------------------------------------------------------------------------------------------------


def test_terms_are_of_words_that_occur_and_of_losses_that_exist() -> None:
    records = published.records()
    assert set(published_terms.DATASETS) <= {record.dataset for record in records}
    assert set(published_terms.NETWORKS) <= {record.model for record in records}
    assert set(published_recipes.SCHEDULES) <= {(record.source.place, record.schedule) for record in records}
    assert set(published_recipes.SAMPLERS) <= {record.sampler for record in records}
    assert set(published_recipes.LOSSES) <= {record.loss for record in records}
    assert set(published_recipes.BY_DATASET) <= {(record.loss, record.dataset) for record in records}
    assert set(published_terms.METRICS) <= {name for record in records for name in record.metrics} | {"mask_AR"}
    named = {term.name for term in (*published_recipes.LOSSES.values(), *published_recipes.BY_DATASET.values())}
    assert named <= set(plugins.names("loss"))


def test_metrics_are_those_of_our_tasks() -> None:
    from eqbench.evaluation.detections import BOX_METRICS, MASK_METRICS
    from eqbench.evaluation.segmentation import METRICS

    known = {*Classification.metrics, *BOX_METRICS, *(f"mask_{name}" for name in MASK_METRICS), *METRICS}
    assert set(published_terms.METRICS.values()) <= known


@pytest.mark.parametrize(
    ("spec", "loss", "place"),
    [
        (lvis_spec("sigmoid_eql"), "EQLv2", "tztztztztz/eqlv2"),
        (lvis_spec("eql"), "EQL", "tztztztztz/eqlv2"),
        (imagenet_spec("cross_entropy"), "CE (joint)", "facebookresearch/classifier-balancing"),
        (cifar_spec("cross_entropy"), "CE", "zhangyongshun/BagofTricks-LT"),
        (cifar_spec("eql_softmax"), "EQL softmax v1 (SEQL, gamma=0.9)", "zhangyongshun/BagofTricks-LT"),
    ],
    ids=lambda value: value.loss.name if isinstance(value, RunSpec) else None,
)
def test_the_suites_of_the_tree_have_the_recipes_of_the_releases(spec: RunSpec, loss: str, place: str) -> None:
    dataset = published_dataset(spec)
    assert dataset is not None
    same = [
        record
        for record in published.search(dataset=dataset, loss=loss)
        if record.source.place == place and not differences(spec, record)
    ]
    assert len(same) == 1
    assert same_loss(spec, same[0])


def test_the_fields_that_differ_are_named_with_both_values() -> None:
    row = record_of("EQLv2", "tztztztztz/eqlv2", dataset="LVIS v1.0")
    spec = lvis_spec(epochs=24, precision="bf16", sampler={"name": "repeat_factor"}, images=400)
    found = {each.field: (each.ours, each.published) for each in differences(spec, row)}
    assert found == {
        "training images": (400, 99_388),
        "train.epochs": (24.0, 12),
        "train.precision": ("bf16", "float32"),
        "train.sampler.name": ("repeat_factor", "random"),
    }


def test_repeated_images_are_no_other_data() -> None:
    row = record_of("CE", "tztztztztz/eqlv2", dataset="LVIS v1.0", schedule="1x (12 epochs)")
    repeated = lvis_spec("cross_entropy", images=160_000, sampler={"name": "repeat_factor", "threshold": 0.001})
    assert fields(repeated, row) == []
    assert "training images" in fields(lvis_spec("cross_entropy", images=160_000), row)


def test_settings_that_no_source_states_are_never_the_same() -> None:
    row = record_of("Softmax CE", "Vanint/SADE-AgnosticLT", dataset="ImageNet-LT")
    difference = differences(imagenet_spec(), row)
    assert [each.field for each in difference] == ["train.schedule"]
    assert str(difference[0]).endswith("published see repo config (settings not recorded)")
    focal = record_of("Focal", "zhangyongshun/BagofTricks-LT", dataset="CIFAR-100-LT IF100")
    assert fields(cifar_spec("focal"), focal) == ["loss.params"]


def test_loss_parameters_and_another_network_differ() -> None:
    row = record_of("CE (joint)", "facebookresearch/classifier-balancing", sampler="instance-balanced (random)")
    assert fields(imagenet_spec(model={"backbone": "resnet50"}), row) == ["model"]
    assert fields(imagenet_spec(data={"eval_split": "val"}), row) == ["data.params.eval_split"]
    eql = record_of("EQL softmax v1 (SEQL, gamma=0.9)", "zhangyongshun/BagofTricks-LT", dataset="CIFAR-100-LT IF50")
    assert fields(cifar_spec("eql_softmax", factor=50.0, images=12_608), eql) == ["loss.params.lambda_"]


# -- tolerance -----------------------------------------------------------------------------------------------


def test_tolerance_from_three_seeds_is_the_prediction_interval_of_one_more() -> None:
    # s = 1, t(2; 0.975) = 4.302653, sqrt(1 + 1/3) = 1.154701; the published number is rounded to 0.1.
    allowed = seed_noise.tolerance("classification", "top1", [43.0, 44.0, 45.0], 44.4)
    assert allowed.size == pytest.approx(4.302653 * 1.154701 + 0.05, abs=1e-5)
    assert allowed.reason == "scatter of our 3 seeds"


def test_tolerance_of_fewer_seeds_is_from_published_repetitions() -> None:
    # box AP: 20.8 and 20.355, 23.6 and 23.544: s = sqrt((0.445^2 + 0.056^2) / 4), t(2; 0.975) = 4.302653.
    allowed = seed_noise.tolerance("detection", "ap", [24.0], 24.2)
    assert allowed.size == pytest.approx(4.302653 * math.sqrt((0.445**2 + 0.056**2) / 2) + 0.05, abs=1e-5)
    assert allowed.reason == (
        "scatter of 2 published pairs: 20.8 and 20.4 (eql.detectron2, DisAlign, LVIS v0.5), "
        "23.6 and 23.5 (eql.detectron2, DisAlign, LVIS v0.5)"
    )
    assert math.isnan(seed_noise.tolerance("detection", "mask_ap_r", [7.0], 7.7).size)
    assert math.isnan(seed_noise.tolerance("classification", "top1", [44.0], 44.4).size)
    assert math.isnan(seed_noise.tolerance("segmentation", "miou", [36.0, 36.2], 36.1).size)


def test_detection_repetitions_are_of_one_recipe() -> None:
    # mask AP: 22.2 and 22.0, 21.2 and 20.724, 24.4 and 24.192.
    squares = [0.2**2, 0.476**2, 0.208**2]
    noise = seed_noise.published_noise("detection")["mask_ap"]
    assert (noise.deviation, len(noise.pairs)) == (pytest.approx(math.sqrt(sum(squares) / 2 / 3)), 3)


# -- verdicts ------------------------------------------------------------------------------------------------


def test_verdict_of_each_metric_over_the_seeds(tmp_path: Path) -> None:
    values = [(44.1, 7.0), (44.4, 7.1), (44.9, 7.2)]
    outcomes = [(imagenet_spec(seed=s), {"top1": top1, "few": few}) for s, (top1, few) in enumerate(values)]
    runs = suite_of(tmp_path, *outcomes)
    found = verdict.compare_to_published(runs[1])
    assert found.seeds == (0, 1, 2)
    assert found.own == {"top1": 44.4, "few": 7.1}
    same = [reference for reference in found.references if reference.same_recipe]
    assert [reference.label for reference in same] == ["CE (joint) (facebookresearch/classifier-balancing)"]
    assert found.references[0] is same[0]
    answers = {each.metric: each.answer for each in same[0].verdicts}
    # few: mean 7.1, s 0.1: 4.30 * 0.1 * 1.155 + 0.05 = 0.547 < 0.6 to the published 7.7.
    assert answers == {"top1": "within tolerance", "few": "different"}
    others = {v.answer for reference in found.references[1:] for v in reference.verdicts}
    assert others == {"not the same recipe"}
    assert not found.regression


def test_a_lower_main_metric_is_a_regression_and_so_is_no_row_of_the_recipe(tmp_path: Path) -> None:
    lower, _, _, higher, _, _, other, single = suite_of(
        tmp_path,
        *((imagenet_spec(seed=seed), {"top1": 41.0 + seed / 10}) for seed in range(3)),
        *((cifar_spec(seed=seed), {"top1": 45.0 + seed / 10}) for seed in range(3)),
        (imagenet_spec(seed=5, epochs=10), {"top1": 99.0}),
        (cifar_spec(factor=50.0, images=12_608), {"top1": 43.0}),
    )
    worse = verdict.compare_to_published(lower)
    assert worse.regression
    assert worse.verdict == "a regression: top1 41.10, published 44.40, tolerance 0.55"
    better = verdict.compare_to_published(higher)
    assert better.references[0].verdicts[0].answer == "different"
    assert not better.regression
    assert better.verdict.startswith("no regression: top1 45.10, published ")
    found = verdict.compare_to_published(other)
    assert found.regression
    assert found.verdict == "undecided, which counts as a regression: nothing of this recipe is published"
    assert "1 of the 3 seeds that are needed" in verdict.compare_to_published(single).verdict


def test_masks_decide_where_boxes_are_not_published(tmp_path: Path) -> None:
    within, *_ = suite_of(tmp_path, *((lvis_spec(seed=s), {"ap": 24.0 + s, "mask_ap": 23.5 + s / 5}) for s in range(3)))
    found = verdict.compare_to_published(within)
    (same,) = (each for each in found.references if each.same_recipe)
    masks = replace(same, verdicts=tuple(each for each in same.verdicts if each.metric != "ap"))
    found = replace(found, references=(masks,))
    assert found.judged_metric == "mask_ap"
    assert not found.regression
    assert found.as_dict()["verdict"].startswith("no regression: mask_ap 23.70, published 23.70")


def test_missing_and_other_metrics_have_no_verdict(tmp_path: Path) -> None:
    (run,) = suite_of(tmp_path, (imagenet_spec(), {"top1": None, "worst": 0.0, "few": 7.7}))
    found = verdict.compare_to_published(run)
    (reference,) = [each for each in found.references if each.same_recipe]
    assert [(each.metric, each.answer) for each in reference.verdicts] == [("few", "undecided")]
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["regression"]


def test_nothing_published_is_said_with_what_there_is(tmp_path: Path) -> None:
    digits, softmax_eql, failed = suite_of(
        tmp_path,
        (make_spec(), {"top1": 90.0}),
        (imagenet_spec("softmax_eql"), {"top1": 50.0}),
        (imagenet_spec(), {"top1": 1.0}),
    )
    failed.write_result({"status": "failed", "status_detail": "no memory", "metrics": {}, "cost": {}})
    with pytest.raises(InputError, match="nothing is published of data set 'digits'"):
        verdict.compare_to_published(digits)
    with pytest.raises(
        InputError, match=r"nothing is published of softmax_eql on ImageNet-LT; there are .*CE \(joint\)"
    ):
        verdict.compare_to_published(softmax_eql)
    with pytest.raises(InputError, match="failed: no memory; expected a finished run"):
        verdict.compare_to_published(failed)


# -- the board -----------------------------------------------------------------------------------------------


def test_reference_rows_beside_a_column(tmp_path: Path) -> None:
    suite_of(tmp_path, *((lvis_spec(seed=s), {"ap": 24.0 + s, "mask_ap": 23.5 + s}) for s in range(3)))
    board = leaderboard.board([SuiteFolder(tmp_path, "published")])
    found = verdict.references(board.columns[0])
    same = [(reference.loss, reference.label) for reference in found if reference.same_recipe]
    assert same == [("sigmoid_eql", "EQLv2 (tztztztztz/eqlv2)")]
    not_run = [reference for reference in found if reference.same_recipe is None]
    assert [(reference.loss, reference.label) for reference in not_run] == [
        ("cross_entropy", "CE (softmax baseline) (tztztztztz/eqlv2)"),
        ("eql", "EQL (tztztztztz/eqlv2)"),
    ]
    assert {verdict.recipe_note(each) for each in not_run} == {"the same but for the loss, which was not run"}
    assert not_run[0].as_dict()["same_recipe"] is None
    assert [each for each in found if not each.differing] == verdict.nearest_references(board.columns[0])
    own = next(reference for reference in found if reference.loss == "sigmoid_eql" and reference.same_recipe)
    assert {each.metric for each in own.verdicts} == {"ap", "mask_ap"}
    assert own.source == 'github.com/tztztztztz/eqlv2@907fad9, README.md, "Pretrained Models on LVIS"'
    assert verdict.recipe_note(own) == "same recipe; mask_ap within tolerance"
    crt = next(reference for reference in found if reference.label.startswith("cRT (decoupled)"))
    assert (crt.loss, crt.verdicts) == (None, ())
    assert not any("R101" in reference.label for reference in found)


@pytest.mark.parametrize("name", ["table", "markdown", "latex", "csv", "json"])
def test_every_format_marks_reference_rows(tmp_path: Path, name: str) -> None:
    suite_of(tmp_path, (imagenet_spec(), {"top1": 44.0}))
    text = table.render(leaderboard.board([SuiteFolder(tmp_path, "published")]), name)
    assert "published" in text
    assert "44.4" in text
    assert "facebookresearch/classifier-balancing" in " ".join(text.replace("\n", "").split())


def test_other_images_have_no_reference_rows(tmp_path: Path) -> None:
    suite_of(tmp_path, (imagenet_spec(images=800), {"top1": 44.0}), (make_spec(), {"top1": 90.0}))
    board = leaderboard.board([SuiteFolder(tmp_path, "published")])
    assert [verdict.references(column) for column in board.columns] == [[], []]


# -- the command line ----------------------------------------------------------------------------------------


def test_compare_to_published_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.setenv("COLUMNS", "120")
    run, *_ = suite_of(tmp_path, *((imagenet_spec(seed=seed), {"top1": 41.0 + seed / 10}) for seed in range(3)))
    arguments = ["compare", run.run_id, "--to", "published", "--storage", str(tmp_path)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "facebookresearch/classifier-balancing" in shown.output
    assert "different" in shown.output
    assert "train.sampler.name: random, published square_root" in shown.output
    assert "a regression: top1 41.10, published 44.40, tolerance 0.55" in shown.output
    failing = CliRunner().invoke(app, [*arguments, "--json", "--fail-on-regression"])
    assert failing.exit_code == 4
    assert json.loads(failing.output)["references"][0]["verdicts"]["top1"]["verdict"] == "different"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "expected a second run, or --to published"),
        (["a", "--to", "publish"], "--to publish: expected 'published'; did you mean 'published'?"),
        (["a", "b", "--to", "published"], "run 'b' and --to published exclude each other"),
        (["a", "--to", "published", "--tolerance", "1"], "--tolerance is for two runs"),
        (["a", "b", "--tolerance", "-1"], "--tolerance -1.0: expected 0 or more points"),
        (["a", "b", "--tolerance", "nan"], "--tolerance nan: expected 0 or more points"),
    ],
)
def test_wrong_targets(arguments: list[str], message: str) -> None:
    from typer.testing import CliRunner

    error = CliRunner().invoke(app, ["compare", *arguments]).exception
    assert isinstance(error, InputError)
    assert message in str(error)
