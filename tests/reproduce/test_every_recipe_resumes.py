"""Every recipe of every table: interrupted, the same bits; in two processes, as one."""

import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import Ranks, start, wait
from torch.nn.utils import parameters_to_vector

sys.path.insert(0, str(Path(__file__).parent))
import interrupted
from interrupted import ROWS, SHORT, cut_off, short, what_it_made

from ece661_sparse.reproduce.results import result_path
from ece661_sparse.training import load_sparse

KILLS = 20  # of all recipes together
NORMALISED = {"channel_gating", "dynamic_convolution", "gsm_published"}


@pytest.fixture(scope="module", params=SHORT)
def uninterrupted(request, tmp_path_factory):
    """A recipe, what it makes, and its seconds in a process of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    begin = time.monotonic()
    child = start(interrupted.run, request.param, folder, log=folder / "log")
    assert wait(child) == 0, (folder / "log").read_text()
    seconds = time.monotonic() - begin
    made = what_it_made(folder / "results", ROWS[request.param])
    return request.param, made, seconds


def test_every_recipe_is_here():
    assert SHORT.keys() == ROWS.keys()


def test_a_run_that_only_ever_gets_to_its_next_checkpoint(uninterrupted, tmp_path):
    recipe, made, _ = uninterrupted
    starts, done = 0, False
    while not done:
        starts += 1
        try:
            with cut_off(saves=1):
                interrupted.run(recipe, tmp_path)
            done = True
        except KeyboardInterrupt:
            torch.rand(starts)  # whatever else the session did in between
    assert starts > 3
    assert what_it_made(tmp_path / "results", ROWS[recipe]) == made


def test_kill_9_at_random_moments(uninterrupted, tmp_path):
    recipe, made, seconds = uninterrupted
    moment = random.Random(recipe)
    kills = [recipe] * (KILLS // len(SHORT)) + [*SHORT][: KILLS % len(SHORT)]
    moments = []
    while len(moments) < kills.count(recipe):
        child = start(interrupted.run, recipe, tmp_path, log=tmp_path / "log")
        moments.append(moment.uniform(0.1, 0.9) * seconds)
        child.join(moments[-1])
        child.kill()
        assert wait(child) in (0, -signal.SIGKILL), (tmp_path / "log").read_text()
        if result_path(tmp_path / "results", ROWS[recipe]).exists():
            # It was faster this time, and is through: once more, and earlier.
            shutil.rmtree(tmp_path / "results")
            seconds *= 0.7
            moments.clear()
    assert wait(start(interrupted.run, recipe, tmp_path, log=tmp_path / "log")) == 0
    assert what_it_made(tmp_path / "results", ROWS[recipe]) == made, f"{moments} s"


def test_two_processes_make_what_one_makes(uninterrupted, tmp_path):
    recipe, (result, weights), _ = uninterrupted
    ranks = Ranks(interrupted.run_in_company, recipe, tmp_path, folder=tmp_path)
    assert ranks.wait() == [0, 0], ranks.output()
    together, of_two = what_it_made(tmp_path / "results", ROWS[recipe])
    assert together["device"] == f"2 x {result['device']}"
    assert together["nonzero"] == result["nonzero"]
    if recipe in NORMALISED:  # on CPUs, over the share of a batch
        return
    for path, content in ((tmp_path / "one", weights), (tmp_path / "two", of_two)):
        path.write_bytes(content)
    one, two = (
        parameters_to_vector(
            load_sparse(tmp_path / name, short(recipe).untrained()).parameters()
        )
        for name in ("one", "two")
    )
    # Rounding may decide for another weight, though not often.
    assert ((one - two).abs() > 1e-3).double().mean() < 1e-3
