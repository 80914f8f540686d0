"""Run a row: train by its recipe, then measure once on the test set."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import nn

from ece661_sparse.reproduce.engine.datasets import DATASETS
from ece661_sparse.reproduce.engine.results import (
    changing,
    commit,
    merged,
    read_result,
    result_path,
    weights_path,
    write_result,
)
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.engine.run import CheckpointedRun, fingerprint
from ece661_sparse.reproduce.recipes.dense import NETWORKS
from ece661_sparse.reproduce.recipes.run import Outcome
from ece661_sparse.training import (
    Images,
    accuracy,
    hold_out,
    nonzeros,
    provenance,
    set_seed,
    sparsity_report,
)
from ece661_sparse.training.distributed import locked, on_rank_0, rank_0_first
from ece661_sparse.training.sparse_file import save_sparse, sparse_bytes


@dataclass(frozen=True)
class Options:
    """How rows are run; see ``python -m ece661_sparse reproduce --help``.

    Attributes:
        out: folder of the results; None: they are returned and not kept.
    """

    profile: str
    device: torch.device
    checkpoints: Path
    out: Path | None
    validate: bool = False
    again: bool = False


def run_row(
    row: Row, options: Options, seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """Run the row's seeds that are not done yet and return its result.

    Raises:
        ValueError: the row has no recipe or no settings for the profile; the folder
            of the results holds this row of another profile or of a validation; the
            row is being run by another process.
    """
    if row.recipe is None:
        raise ValueError(f"{row.name} has no recipe yet: there is nothing to run")
    if options.profile not in row.settings:
        raise ValueError(
            f"{row.name} has no settings for profile {options.profile!r}; it has some "
            f"for --profile {', '.join(row.settings)}"
        )
    result = on_rank_0(partial(_done, row, options))
    for seed in row.seeds if seeds is None else seeds:
        if result is None or seed not in result["seeds"] or options.again:
            result = _run_seed(row, options, seed, result)
        else:
            print(
                f"{row.name}: seed {seed} is in {options.out} already (--again runs it "
                "again, another --out keeps both)",
                file=sys.stderr,
            )
    assert result is not None
    return result


def _run_seed(
    row: Row, options: Options, seed: int, result: dict[str, Any] | None
) -> dict[str, Any]:
    """Train and measure one seed, and add it to the result of the others."""
    assert row.recipe is not None
    data = _images(row, options, "training")
    folder = _checkpoints(row, options, seed, len(data))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder.with_suffix(".lock"), wait=False):
            if options.again:
                on_rank_0(partial(shutil.rmtree, folder))
            run = CheckpointedRun(
                data,
                seed,
                options.profile,
                options.device,
                folder,
                options.checkpoints / "dense" / row.dataset,
                f"{row.name} seed {seed}",
                DATASETS[row.dataset].training(options.device),
            )
            set_seed(seed)
            outcome = row.recipe(run, **row.settings[options.profile])
            base = outcome.base_top1_model
            if base is None and row.model in NETWORKS:
                base = run.base(row.model)
            run.clock.tick()
            model = _plain(row, options, outcome)
            new = _measured(row, options, run, outcome, model, base)
            if options.out is None:
                return merged(result, new)
            result = on_rank_0(partial(_keep, row, options, new, model))
            on_rank_0(partial(shutil.rmtree, folder))
            return result
    except Timeout:
        raise ValueError(
            f"{row.name}, seed {seed}, is being run by another process in {folder}"
        ) from None


def _checkpoints(row: Row, options: Options, seed: int, images: int) -> Path:
    """The folder of a seed's checkpoints: another one for other settings or code."""
    profile = options.profile
    dense = ""
    if row.model in NETWORKS:
        network = NETWORKS[row.model]
        dense = fingerprint(network.settings[profile], network.recipe)
    assert row.recipe is not None
    kind = fingerprint(row.settings[profile], row.recipe, images, options.device, dense)
    return options.checkpoints / row.table / row.name / f"{profile}-seed{seed}-{kind}"


def _keep(
    row: Row, options: Options, new: dict[str, Any], model: nn.Module
) -> dict[str, Any]:
    """Add the result of a seed to those on file; write the weights of the first."""
    assert options.out is not None
    with changing(options.out, row):
        # Another process may have finished another seed in the meantime.
        result = merged(_done(row, options), new)
        if row.keep_weights and result["seeds"][:1] == new["seeds"]:
            # first: the JSON names them
            save_sparse(model, weights_path(options.out, row))
        write_result(options.out, row, result)
    return result


def _plain(row: Row, options: Options, outcome: Outcome) -> nn.Module:
    """The outcome's weights in the network that they will be read into again."""
    model = row.untrained().to(options.device)
    for module in model.modules():
        if type(module) is nn.Conv2d:  # the kernels of others may have five dimensions
            module.to(memory_format=torch.channels_last)
    try:
        model.load_state_dict(outcome.model.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"the recipe of {row.name} did not return the network of its row: {error}"
        ) from error
    return model


def _measured(
    row: Row,
    options: Options,
    run: CheckpointedRun,
    outcome: Outcome,
    model: nn.Module,
    base: nn.Module | None,
) -> dict[str, Any]:
    """The result of one seed: the only place that looks at the test set."""
    images = _images(row, options, "measurement")
    source = provenance(options.profile, run.seed, options.device)
    further = row.measure(model, images) if row.measure else {}
    return {
        "row": row.name,
        "table": row.table,
        "method": row.method,
        "model": row.model,
        "dataset": row.dataset,
        "profile": options.profile,
        "split": "validation" if options.validate else "test",
        "device": source["device"],
        "versions": source["versions"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "kernel_parameters": sparsity_report(model).total,
        "retrained": outcome.retrained,
        "published": dict(row.published),
        "recipe": dict(row.settings[options.profile]),
        "seeds": [run.seed],
        "commit": [commit()],
        "minutes": [round(run.minutes + run.base_minutes, 2)],
        "base_minutes": [round(run.base_minutes, 2)],
        "nonzero": [nonzeros(model)],
        "base_top1": [None if base is None else accuracy(base, images)],
        "top1": [accuracy(model, images)],
        "extra": [outcome.extra | further],
        "weights_sha256": hashlib.sha256(sparse_bytes(model)).hexdigest(),
    }


def _done(row: Row, options: Options) -> dict[str, Any] | None:
    """The result on file, if it was made with these settings."""
    if options.out is None:
        return None
    old = read_result(options.out, row)
    if old is None:
        return None
    split = "validation" if options.validate else "test"
    if (old["profile"], old["split"]) != (options.profile, split):
        raise ValueError(
            f"{result_path(options.out, row)} holds the row's {old['profile']} "
            f"results ({old['split']}); delete it, or choose another folder (--out) "
            f"for {options.profile} ({split})"
        )
    same = old["recipe"] == json.loads(json.dumps(row.settings[options.profile]))
    return old if same else None


def _images(row: Row, options: Options, part: str) -> Images:
    """The ``training`` images, or those of the final ``measurement``.

    The test set is loaded when the recipe is through: it cannot use what is not there.
    """
    dataset = DATASETS[row.dataset]
    data = rank_0_first(partial(dataset.load, options.profile, options.device))
    if options.validate:
        train, held_out = hold_out(data.train, dataset.held_out[options.profile])
        images = train if part == "training" else held_out
    else:
        images = data.train if part == "training" else data.test
    if images.x.ndim == 4:  # much faster on a CPU
        x = images.x.to(memory_format=torch.channels_last)
        images = Images(x, images.y)
    return images
