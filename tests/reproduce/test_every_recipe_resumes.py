"""Every recipe of every table: interrupted, the same bits; in two processes, as one.

The dense networks are trained once for all; ``test_runner`` interrupts theirs.
"""

import random
import shutil
import signal
import time

import interrupted
import pytest
import torch
from forked import Ranks, start, wait
from interrupted import ROWS, SHORT, cut_off, short, what_it_made
from torch.nn.utils import parameters_to_vector

from ece661_sparse.reproduce.engine.results import result_path
from ece661_sparse.training import load_sparse

KILLS = 20  # of all recipes together
NORMALISED = {"channel_gating", "dynamic_convolution", "gsm_published"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Where all recipes run uninterrupted, and leave the dense networks."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module", params=SHORT)
def uninterrupted(request, whole):
    """A recipe, what it makes, and its seconds in a process of its own."""
    begin = time.monotonic()
    child = start(interrupted.run, request.param, whole, log=whole / "log")
    assert wait(child) == 0, (whole / "log").read_text()
    seconds = time.monotonic() - begin
    made = what_it_made(whole / "results", ROWS[request.param])
    return request.param, made, seconds


@pytest.fixture
def folder(uninterrupted, whole, tmp_path):
    """With the dense networks in it, and nothing else."""
    dense = "checkpoints/dense"
    if (whole / dense).exists():  # recipes of Part IV have none
        shutil.copytree(whole / dense, tmp_path / dense)
    return tmp_path


def test_every_recipe_is_here():
    assert SHORT.keys() == ROWS.keys()


def test_a_budget_is_kept(uninterrupted):
    _, (result, _), _ = uninterrupted
    [nonzero], [extra] = result["nonzero"], result["extra"]
    budget = result["recipe"].get("keep")
    if budget is not None:
        assert nonzero == (budget if isinstance(budget, int) else sum(budget.values()))
    if "kept" in extra:
        assert nonzero == sum(extra["kept"].values())
        assert 100 < nonzero < 0.75 * result["kernel_parameters"]


def test_a_run_that_only_ever_gets_to_its_next_checkpoint(uninterrupted, folder):
    recipe, made, _ = uninterrupted
    starts, done = 0, False
    while not done:
        starts += 1
        try:
            with cut_off(saves=1):
                interrupted.run(recipe, folder)
            done = True
        except KeyboardInterrupt:
            torch.rand(starts)  # whatever else the session did in between
    assert starts > 3
    assert what_it_made(folder / "results", ROWS[recipe]) == made


def test_kill_9_at_random_moments(uninterrupted, folder):
    recipe, made, seconds = uninterrupted
    moment = random.Random(recipe)
    kills = [recipe] * (KILLS // len(SHORT)) + [*SHORT][: KILLS % len(SHORT)]
    moments = []
    while len(moments) < kills.count(recipe):
        child = start(interrupted.run, recipe, folder, log=folder / "log")
        moments.append(moment.uniform(0.1, 0.9) * seconds)
        child.join(moments[-1])
        child.kill()
        assert wait(child) in (0, -signal.SIGKILL), (folder / "log").read_text()
        if result_path(folder / "results", ROWS[recipe]).exists():
            # It was faster this time, and is through: once more, and earlier.
            shutil.rmtree(folder / "results")
            seconds *= 0.7
            moments.clear()
    assert wait(start(interrupted.run, recipe, folder, log=folder / "log")) == 0
    assert what_it_made(folder / "results", ROWS[recipe]) == made, f"{moments} s"


def test_two_processes_make_what_one_makes(uninterrupted, folder):
    recipe, (result, weights), _ = uninterrupted
    ranks = Ranks(interrupted.run_in_company, recipe, folder, folder=folder)
    assert ranks.wait() == [0, 0], ranks.output()
    together, of_two = what_it_made(folder / "results", ROWS[recipe])
    assert together["device"] == f"2 x {result['device']}"
    assert together["nonzero"] == result["nonzero"]
    if recipe in NORMALISED:  # on CPUs, over the share of a batch
        return
    for path, content in ((folder / "one", weights), (folder / "two", of_two)):
        path.write_bytes(content)
    one, two = (
        parameters_to_vector(
            load_sparse(folder / name, short(recipe).untrained()).parameters()
        )
        for name in ("one", "two")
    )
    assert one.isfinite().all()
    assert ((one - two).abs() > 1e-3).double().mean() < 1e-3
