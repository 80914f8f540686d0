"""Every method of the lecture from the same trained LeNets, over a sweep of non-zeros.

For the chapter "Choosing a method". All methods start from the shared dense network,
see the training images equally often (the last epochs as masked retraining, the
same for all), and aim at the same shares of the weights:

- some take a number of weights, ``keep``;
- penalties and gates take a strength (λ; DNS: a factor on its thresholds), and what is
  left follows. ``STRENGTHS`` holds, for every share, a strength that should leave
  about as many weights. It was found by counting what training runs left, and for
  LeNet-5 from one to three counts near 2 %. No accuracy was looked at. (Trimmed ℓ1
  has both. Below 5 % of LeNet-300 it was run and tested twice: the first λ, 3e-3, left
  more than h. So was Srinivas et al. at 5 % of LeNet-5: the first strength, 2.1e-6,
  left 99 %.)

Everything else is as in Table 1 and its like, or a rounded value of it, and was not
tuned for the sweep. At 2 % of LeNet-300 there are three seeds, and further rows with
one hyperparameter halved or doubled: the learning rate, or one of the method's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from ece661_sparse.core.networks import kernels
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.recipes.dense import NETWORKS
from ece661_sparse.reproduce.recipes.gates import (
    continuous_sparsification,
    hard_concrete,
)
from ece661_sparse.reproduce.recipes.proximal import proximal
from ece661_sparse.reproduce.recipes.run import Outcome
from ece661_sparse.reproduce.recipes.saliency import (
    admm,
    dns,
    gsm,
    han,
    lobs,
    one_shot,
    srinivas,
)

SHARES = {"lenet300": (100, 50, 20, 10, 5), "lenet5": (50, 20, 10)}
"""Weights that are kept, in thousandths."""

COMPARED = 20
"""Where LeNet-300 has three seeds, and rows with a hyperparameter halved or doubled."""

EPOCHS = {
    "lenet300": {"epochs": 16, "retrain_epochs": 8},
    "lenet5": {"epochs": 4, "retrain_epochs": 2},
}
"""Of the method, and of masked retraining."""

BATCH_SIZE = {"lenet300": 256, "lenet5": 64}
LR = {"lenet300": 0.05, "lenet5": 0.02}
with torch.device("meta"):  # shapes without numbers: nothing is drawn
    SIZES = {
        model: {
            name.removesuffix(".weight"): kernel.numel()
            for name, kernel in kernels(NETWORKS[model].build()).items()
        }
        for model in SHARES
    }

LAYER_SHARES = {
    "lenet300": {"fc1": 0.784, "fc2": 0.194, "fc3": 0.022},
    "lenet5": {"conv1": 0.017, "conv2": 0.33, "fc1": 0.595, "fc2": 0.058},
}
"""Of the weights that are kept: for L-OBS and ADMM, as Table 1 has them."""

THRESHOLDS = {
    "lenet300": {"fc1": 8.3, "fc2": 4.0, "fc3": 1.0},
    "lenet5": {"conv1": 1.0, "conv2": 3.4, "fc1": 7.2, "fc2": 2.6},
}
"""Of DNS, as Table 1 has them; the sweep multiplies them by its strength."""

UNSHRUNK = 0.1
"""From this size on, SCAD and MCP do not shrink a weight."""

STRENGTHS: dict[str, dict[str, tuple[float, ...]]] = {
    "lenet300": {
        "l0": (6.7e-4, 1.4e-3, 4.0e-3, 8.7e-3, 1.9e-2),
        "l1": (5.3e-4, 1.0e-3, 2.7e-3, 6.6e-3, 1.6e-2),
        "lq": (1.5e-5, 3.1e-5, 7.9e-5, 1.6e-4, 3.5e-4),
        "q-shrinkage": (2.7e-4, 8.3e-4, 2.3e-3, 4.6e-3, 8.5e-3),
        "scad": (7.4e-4, 1.4e-3, 3.0e-3, 5.1e-3, 8.5e-3),
        "mcp": (6.9e-4, 1.4e-3, 3.1e-3, 4.7e-3, 7.0e-3),
        "dns": (0.39, 0.56, 0.9, 1.2, 1.7),
        "srinivas": (3.3e-6, 4.2e-6, 6.1e-6, 1.3e-5, 3.2e-5),
        "bernoulli": (3.4e-6, 7.3e-6, 2.1e-5, 4.9e-5, 1.1e-4),
        "hard-concrete": (1.6e-5, 3.3e-5, 7.8e-5, 1.6e-4, 3.1e-4),
        "continuous": (4.2e-7, 1.2e-6, 4.6e-6, 1.3e-5, 3.7e-5),
    },
    "lenet5": {
        "l0": (1.2e-3, 2.3e-3, 3.9e-3),
        "l1": (3.2e-4, 6.6e-4, 1.2e-3),
        "lq": (2.4e-5, 6.1e-5, 1.2e-4),
        "q-shrinkage": (8.7e-4, 2.3e-3, 4.8e-3),
        "scad": (1.3e-3, 2.6e-3, 4.6e-3),
        "mcp": (1.3e-3, 2.6e-3, 4.4e-3),
        "dns": (0.47, 0.73, 1.0),
        "srinivas": (3.4e-6, 4.1e-6, 6.6e-6),
        "bernoulli": (3.1e-6, 9.1e-6, 2.1e-5),
        "hard-concrete": (1.9e-5, 4.6e-5, 9.2e-5),
        "continuous": (2.6e-7, 4.8e-7, 7.5e-7),
    },
}
"""For each of ``SHARES``."""

TITLES = {
    "magnitude": "Magnitude, once",
    "taylor": "Taylor saliency, once",
    "han": "Han et al.",
    "l-obs": "L-OBS",
    "admm": "Zhang et al. (ADMM)",
    "gsm": "GSM",
    "l0-ball": "ℓ0 ball (iterative pruning)",
    "trimmed-l1": "Trimmed ℓ1",
    "l0": "ℓ0 (hard threshold)",
    "l1": "ℓ1",
    "lq": "ℓ1/2",
    "q-shrinkage": "q-shrinkage",
    "scad": "SCAD",
    "mcp": "MCP (firm threshold)",
    "dns": "DNS",
    "srinivas": "Srinivas et al.",
    "bernoulli": "Bernoulli gates",
    "hard-concrete": "Hard concrete gates",
    "continuous": "Continuous sparsification",
}


HYPERPARAMETER = {
    "l-obs": "damping",
    "admm": "rho",
    "gsm": "weight_decay",
    "trimmed-l1": "lam",
    "scad": "a",
    "mcp": "gamma",
    "dns": "gamma",
    "srinivas": "gate_lr",
    "bernoulli": "gate_lr",
    "hard-concrete": "gate_lr",
    "continuous": "gate_lr",
}
"""One of a method's own, beside its keep or strength, where it has one.

The q of ℓq and q-shrinkage is not among them: twice 1/2 is another method, ℓ1.
"""

FACTORS = {0.5: "half", 2.0: "double"}


def varied(method: str) -> list[str]:
    """The hyperparameters of which a method has rows with half and twice the value."""
    return ["lr", HYPERPARAMETER[method]] if method in HYPERPARAMETER else ["lr"]


def row_name(
    method: str,
    model: str,
    permille: int,
    factor: float = 1.0,
    hyperparameter: str = "lr",
) -> str:
    """The name of a point of the sweep, or of its copy with one value multiplied.

    Args:
        factor: 1, or one of ``FACTORS``.
        hyperparameter: what is multiplied: ``"lr"`` (of a method that only retrains,
            the learning rate of that), or the method's ``HYPERPARAMETER``.
    """
    changed = "" if factor == 1 else f"-{FACTORS[factor]}-{hyperparameter}"
    return f"{method}-{model}-{permille}{changed}"


Recipe = tuple[Callable[..., Outcome], dict[str, Any]]


def by_number(model: str, permille: int) -> dict[str, Recipe]:
    """The methods that take the number of weights to keep."""
    total = sum(SIZES[model].values())
    keep = round(total * permille / 1000)
    shares = LAYER_SHARES[model].items()
    layers = {n: min(round(keep * s), SIZES[model][n]) for n, s in shares}
    epochs, last = EPOCHS[model].values()
    common, batch_size = _common(model), BATCH_SIZE[model]
    once = common | {"keep": keep, "epochs": epochs + last}
    rounds = {"rounds": epochs // 2, "epochs": 2, "last": last}
    admm_only = {"rho": 1e-3, "rounds_per_epoch": 2, "lr": 1e-3}
    momentum = {"lr": 0.01, "weight_decay": 4e-3, "retrain_lr": LR[model]}
    batches = {"batch_size": batch_size, "retrain_batch_size": batch_size}
    gradual = {"keep": keep, "start": min(20 * keep, total // 2)}
    # a λ too small for a small h leaves more than h
    trimmed = {"lam": max(3e-3, 0.15 / permille), "h": keep}
    return {
        "magnitude": (one_shot, once | {"criterion": "magnitude"}),
        "taylor": (one_shot, once | {"criterion": "taylor"}),
        "han": (han, common | rounds | {"keep": keep}),
        "l-obs": (lobs, once | {"keep": layers, "rounds": 10, "damping": 1e-3}),
        "admm": (admm, common | EPOCHS[model] | admm_only | {"keep": layers}),
        "gsm": (gsm, gradual | EPOCHS[model] | batches | momentum),
        "l0-ball": _penalised(model, "l0-ball", n=keep),
        "trimmed-l1": _penalised(model, "trimmed-l1", **trimmed),
    }


def by_strength(model: str, strength: Mapping[str, float]) -> dict[str, Recipe]:
    """The methods whose strength decides how many weights are left."""
    s, lr, batch_size = strength, LR[model], BATCH_SIZE[model]
    both = _common(model) | EPOCHS[model] | {"lr": lr}
    c = {n: s["dns"] * c for n, c in THRESHOLDS[model].items()}
    bimodal = {"lam1": 5e-6, "lam2": s["srinivas"], "start": 0.8, "gate_lr": 20.0}
    rounds = {"rounds": 2, "epochs": EPOCHS[model]["epochs"] // 2}
    batches = {"batch_size": batch_size, "retrain_batch_size": batch_size}
    return {
        "l0": _penalised(model, "l0", lam=s["l0"]),
        "l1": _penalised(model, "l1", lam=s["l1"]),
        "lq": _penalised(model, "lq", lam=s["lq"], q=0.5),
        "q-shrinkage": _penalised(model, "q-shrinkage", lam=s["q-shrinkage"], q=0.5),
        "scad": _penalised(model, "scad", lam=s["scad"], a=UNSHRUNK / s["scad"]),
        "mcp": _penalised(model, "mcp", lam=s["mcp"], gamma=UNSHRUNK / s["mcp"]),
        "dns": (dns, both | {"c": c, "gamma": 1e-4}),
        "srinivas": (srinivas, both | bimodal),
        "bernoulli": _gated(model, "bernoulli", s["bernoulli"]),
        "hard-concrete": _gated(model, "hard_concrete", s["hard-concrete"]),
        "continuous": (
            continuous_sparsification,
            EPOCHS[model]
            | rounds
            | batches
            | {"lam": s["continuous"], "lr": lr, "retrain_lr": lr},
        ),
    }


def _common(model: str) -> dict[str, Any]:
    return {
        "retrain_lr": LR[model],
        "batch_size": BATCH_SIZE[model],
        "weight_decay": 5e-4,
        "label_smoothing": 0.1,
    }


def _penalised(model: str, penalty: str, **shape: float) -> Recipe:
    own = {"penalty": penalty, "shape": shape, "lr": LR[model]}
    return proximal, _common(model) | EPOCHS[model] | own


def _gated(model: str, kind: str, lam: float) -> Recipe:
    return hard_concrete, EPOCHS[model] | {
        "kind": kind,
        "groups": "weight",
        "lam": dict.fromkeys(SIZES[model], lam),
        "lr": 1e-3,
        "batch_size": BATCH_SIZE[model],
        "retrain_lr": LR[model],
        "retrain_weight_decay": 5e-4,
    }


def _rows() -> Iterator[Row]:
    for model, shares in SHARES.items():
        for i, permille in enumerate(shares):
            compared = permille == COMPARED and model == "lenet300"
            strength = {m: values[i] for m, values in STRENGTHS[model].items()}
            recipes = by_number(model, permille) | by_strength(model, strength)
            for method, (recipe, settings) in recipes.items():
                settings = {"model": model, **settings}
                name = row_name(method, model, permille)
                seeds = (0, 1, 2) if compared else (0,)
                yield _row(name, method, recipe, settings, seeds)
                for hyperparameter in varied(method) if compared else ():
                    for factor in FACTORS:
                        other = _scaled(recipe, settings, hyperparameter, factor)
                        name = row_name(method, model, permille, factor, hyperparameter)
                        yield _row(name, method, recipe, other, (0,))


def _scaled(
    recipe: Callable[..., Outcome], settings: dict[str, Any], name: str, factor: float
) -> dict[str, Any]:
    """The settings with one value multiplied, wherever it stands."""
    if name in settings.get("shape", {}):
        shape = settings["shape"]
        return {**settings, "shape": {**shape, name: factor * shape[name]}}
    if name == "lr" and "lr" not in settings:
        name = "retrain_lr"
    if name not in settings:
        default = inspect.signature(recipe).parameters[name].default
        settings = {name: default, **settings}
    return {**settings, name: factor * settings[name]}


def _row(
    name: str,
    method: str,
    recipe: Callable[..., Outcome],
    settings: dict[str, Any],
    seeds: tuple[int, ...],
) -> Row:
    """One row; quick runs have fifteen times fewer images, and smaller batches."""
    small = {k: 32 for k in ("batch_size", "retrain_batch_size") if k in settings}
    return Row(
        table="pareto",
        name=name,
        method=TITLES[method],
        model=settings["model"],
        dataset="mnist",
        published={},
        recipe=recipe,
        settings={"quick": settings | small, "full": settings},
        seeds=seeds,
        keep_weights=False,
    )


ROWS = tuple(_rows())
BY_NAME = {row.name: row for row in ROWS}
