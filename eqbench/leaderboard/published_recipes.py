"""What published tables say about training, in eqbench's terms: schedules, samplers, losses.

As in `published_terms`, nothing is guessed. The settings of a schedule are those of its repository's release, so it is
looked up together with the repository. Of a schedule, sampler or loss that is not in a table the settings are not
recorded.
"""

from __future__ import annotations

from eqbench.leaderboard.published_terms import (
    NORMED_CLASSIFIER,
    NORMED_MASK,
    PLAIN_MASK,
    Beside,
    Fields,
    LossTerm,
    Term,
)

PLAIN: Fields = {
    "loss.params.loss_weight": 1.0,
    "train.clip_norm": None,
    "train.ema_decay": None,
    "train.precision": "float32",
}


def _sgd(lr: float, weight_decay: float, nesterov: bool = False) -> Fields:
    values = {"name": "sgd", "lr": lr, "momentum": 0.9, "nesterov": nesterov, "weight_decay": weight_decay}
    return {f"train.optimizer.{name}": value for name, value in values.items()}


def _steps(milestones: list[float], factor: float) -> Fields:
    values = {"name": "multi_step", "milestones": milestones, "factor": factor}
    return {f"train.schedule.{name}": value for name, value in values.items()}


# -- schedules -----------------------------------------------------------------------------------------------

END_TO_END: Fields = {"model.params.trained": "all", "start_from": None}
CROPS: Fields = {
    "data.params.image_size": 224,
    "data.params.resize": 256,
    "data.params.scale": [0.08, 1.0],
    "data.params.flip": 0.5,
    "data.params.color_jitter": [0.4, 0.4, 0.4, 0.0],
    "data.params.mixup": 0.0,
    "data.params.cutmix": 0.0,
}
FROM_SCRATCH: Fields = {
    "model.params.backbone_weights": None,
    "model.params.norm": "batch",
    "train.sync_batchnorm": False,
}
DECOUPLING_FIRST: Fields = {
    **PLAIN,
    **CROPS,
    **FROM_SCRATCH,
    **END_TO_END,
    **_sgd(0.2, 5e-4),
    "model.params.classifier": "linear",
    "train.epochs": 90,
    "train.batch_size": 512,
    "train.schedule.name": "cosine",
    "train.schedule.final_factor": 0.0,
    "train.schedule.warmup.iterations": 0,
}
DECOUPLING_SECOND: Fields = {
    key: value for key, value in DECOUPLING_FIRST.items() if key not in (*END_TO_END, "model.params.backbone_weights")
} | {"train.epochs": 10, "train.sampler.name": "class_aware"}
BAG_OF_TRICKS: Fields = {
    **PLAIN,
    **FROM_SCRATCH,
    **END_TO_END,
    **_sgd(0.1, 2e-4),
    **_steps([0.8, 0.9], 0.01),
    "model.params.classifier": "linear",
    "data.params.padding": 4,
    "data.params.flip": 0.5,
    "data.params.mixup": 0.0,
    "data.params.cutmix": 0.0,
    "train.epochs": 200,
    "train.batch_size": 128,
    "train.schedule.warmup.epochs": 5,
}


def _mmdet(epochs: int) -> Term:
    """mmdet's schedules 1x and 2x."""
    milestones = {12: [8 / 12, 11 / 12], 24: [16 / 24, 22 / 24]}[epochs]
    fields = {
        **PLAIN,
        **_sgd(0.02, 1e-4),
        **_steps(milestones, 0.1),
        "model.params.overrides": {},
        "model.params.backbone_weights": "ImageNet",
        "train.epochs": epochs,
        "train.batch_size": 16,
        "train.schedule.warmup.iterations": 500,
        "train.schedule.warmup.start_factor": 0.001,
    }
    return Term(fields)


EFL_BASELINE = Term(
    {
        **PLAIN,
        **_sgd(0.02, 1e-4),
        **_steps([16 / 24, 22 / 24], 0.1),
        "model.params.backbone_weights": "ImageNet",
        "train.clip_norm": 35.0,
        "train.epochs": 24,
        "train.batch_size": 16,
        "train.schedule.warmup.iterations": 6212,
    }
)
EFL_YOLOX = Term(
    {
        **PLAIN,
        **_sgd(0.04, 5e-4, nesterov=True),
        "model.params.backbone_weights": None,
        "task.params.plain_from": 0.95,
        "train.ema_decay": 0.9998,
        "train.epochs": 300,
        "train.batch_size": 128,
        "train.schedule.name": "cosine",
        "train.schedule.final_factor": 0.05,
        "train.schedule.warmup.iterations": 3882,
    },
    (Beside("train.schedule.warmup", "linear", "quadratic"),),
)
MMSEG_160K = Term(
    {
        **PLAIN,
        **_sgd(0.01, 5e-4),
        "data.params.crop_size": 512,
        "model.params.backbone_weights": "ImageNet",
        "model.params.auxiliary_weight": 0.4,
        "train.iterations": 160_000,
        "train.batch_size": 16,
        "train.sync_batchnorm": True,
        "train.schedule.name": "poly",
        "train.schedule.power": 0.9,
        "train.schedule.warmup.iterations": 0,
    },
    (Beside("train.schedule: final learning rate", "0", "1e-4"),),
)

SCHEDULES: dict[tuple[str, str], Term] = {
    ("tztztztztz/eqlv2", "1x (12 epochs)"): _mmdet(12),
    ("tztztztztz/eqlv2", "1x"): _mmdet(12),
    ("tztztztztz/eqlv2", "2x"): _mmdet(24),
    ("open-mmlab/mmdetection", "2x (24 epochs)"): _mmdet(24),
    ("ModelTC/United-Perception", "24 epochs, 16 GPUs"): EFL_BASELINE,
    ("ModelTC/United-Perception", "300 epochs from scratch, 16 GPUs"): EFL_YOLOX,
    ("facebookresearch/classifier-balancing", "90 epochs"): Term(DECOUPLING_FIRST),
    ("facebookresearch/classifier-balancing", "90 epochs (+10 for cRT)"): Term(DECOUPLING_SECOND),
    (
        "zhangyongshun/BagofTricks-LT",
        "200 epochs, bs 128, lr 0.1, steps 160/180 x0.01, warm 5",
    ): Term(BAG_OF_TRICKS),
    ("Megvii-BaseDetection/DisAlign", "160k iters, 512x512 (mmseg)"): MMSEG_160K,
}


# -- samplers ------------------------------------------------------------------------------------------------


def _sampler(name: str, **more: object) -> Term:
    return Term({f"train.sampler.{key}": value for key, value in {"name": name, **more}.items()})


_SECOND_STAGE = _sampler("class_aware")

SAMPLERS: dict[str, Term] = {
    "random": _sampler("random"),
    "n/a": _sampler("random"),
    "instance-balanced (random)": _sampler("random"),
    "RFS(t=0.001)": _sampler("repeat_factor", threshold=0.001, rounding="ceil"),
    "RFS(t=0.0005 in config)": _sampler("repeat_factor", threshold=0.0005, rounding="stochastic"),
    "class-balanced": _sampler("class_balanced"),
    "square-root": _sampler("square_root"),
    "progressively-balanced": _sampler("progressively_balanced"),
    "random; class-aware in stage 2": _SECOND_STAGE,
    "class-aware in stage 2": _SECOND_STAGE,
    "class-aware stage 2": _SECOND_STAGE,
}


# -- losses --------------------------------------------------------------------------------------------------

PRIOR: Fields = {"model.params.bias_prior": 0.001}
CROSS_ENTROPY = LossTerm("cross_entropy")
FIXED_BACKBONE = Beside("model: batch normalisation in stage 2", "as stage 1 left it", "goes on averaging")
SECOND_STAGE_UNKNOWN = Beside("start_from", "any run", "the release's own first stage")


def _loss(
    name: str, *beside: Beside, recorded: bool = True, fields: Fields | None = None, **parameters: object
) -> LossTerm:
    own = {f"loss.params.{key}": value for key, value in parameters.items()}
    return LossTerm(name, Term({**own, **(fields or {})}, beside, recorded))


def _second_stage(trained: str, *beside: Beside, recorded: bool = True) -> LossTerm:
    return _loss(
        "cross_entropy",
        SECOND_STAGE_UNKNOWN,
        *beside,
        recorded=recorded,
        fields={"model.params.trained": trained},
    )


def _seesaw(mask: str) -> LossTerm:
    config = {"model.params.config": NORMED_CLASSIFIER[mask]}
    return _loss("seesaw", p=0.8, q=2.0, objectness=True, fields=config)


DECOUPLED = Beside("model: stages", "trained end to end", "classifier trained on top of a softmax detector")

LOSSES: dict[str, LossTerm] = {
    **dict.fromkeys(
        (
            *(
                "CE",
                "CE (joint)",
                "Softmax CE",
                "CE (softmax baseline)",
                "CE (Mask R-CNN softmax)",
                "CE (single-scale)",
            ),
            *("CE 1x", "CE 2x", "CE + RFS", "no EQL"),
        ),
        CROSS_ENTROPY,
    ),
    "CE (aug-test)": _loss("cross_entropy", Beside("evaluation", "single scale", "several scales and flips")),
    "stage-1 mixup (CE)": _loss("cross_entropy", recorded=False),
    "cRT": _second_stage("classifier", FIXED_BACKBONE),
    "LWS": _second_stage("scales", FIXED_BACKBONE),
    "tau-norm": _second_stage("none", recorded=False),
    "BCE": _loss("bce", fields=PRIOR),
    "Sigmoid BCE": _loss("bce", fields=PRIOR),
    "Focal": _loss("focal", recorded=False),
    "Focal (all)": _loss("focal", recorded=False),
    "EQL": _loss("eql", lambda_=1.1e-3, fields=PRIOR),
    "EQL (sigmoid)": _loss("eql", lambda_=1.77e-3, fields=PRIOR),
    "EQLv2": _loss("sigmoid_eql", gamma=12.0, mu=0.8, alpha=4.0, objectness=True, fields=PRIOR),
    "EFL": _loss("efl", recorded=False),
    "EFL(s=8)": _loss("efl", scale_factor=8.0, focal_gamma=2.0, focal_alpha=0.25, fields=PRIOR),
    "EFL(s=4)": _loss("efl", scale_factor=4.0, focal_gamma=2.0, focal_alpha=0.25, fields=PRIOR),
    "EQFL(s=4)": _loss("eqfl", scale_factor=4.0, focal_gamma=2.0, fields=PRIOR),
    "LDAM": _loss("ldam", recorded=False),
    "Class-balanced CE": _loss("class_balanced", recorded=False, form="softmax"),
    "Balanced softmax": _loss("balanced_softmax"),
    "Balanced softmax (e2e)": _loss("balanced_softmax"),
    "Seesaw (normed mask=N)": _seesaw(PLAIN_MASK),
    "Seesaw (normed mask=Y)": _seesaw(NORMED_MASK),
    "Federated loss": _loss("federated", recorded=False),
    "BAGS": _loss("group_softmax", DECOUPLED),
    "BAGS (decoupled)": _loss("group_softmax", DECOUPLED),
}

BY_DATASET: dict[tuple[str, str], LossTerm] = {
    ("EQL softmax v1 (SEQL, gamma=0.9)", f"CIFAR-100-LT IF{factor}"): _loss(
        "eql_softmax", keep_probability=0.9, lambda_=threshold
    )
    for factor, threshold in ((100, 0.005), (50, 0.006))
}


def loss_term(loss: str, dataset: str) -> LossTerm | None:
    """The loss that a published name means on a data set; None if eqbench has no such loss."""
    return BY_DATASET.get((loss, dataset)) or LOSSES.get(loss)
