"""The exercises of dynamic convolution: states, mistakes, independent oracles."""

import inspect
import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import DynamicConv2d, mixed_conv2d
from ece661_sparse.exercises import check, exercises, progress, solution_source
from ece661_sparse.exercises import dynamic as solutions
from ece661_sparse.exercises.checker import NotSolvedError, _call, _same, _verdict

CHAPTER = "dynamic_convolution"
NAMES = ["mixed_convolution", "dynamic_flops", "temperature_for", "average_kernel"]
PART = {e.name: e for e in solutions.EXERCISES if e.chapter == CHAPTER}
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{position}")
    for exercise in PART.values()
    for position, mistake in enumerate(exercise.mistakes)
]
each_exercise = pytest.mark.parametrize("exercise", PART.values(), ids=list(PART))


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# --- the exercises as exercises --------------------------------------------------


def test_all_exercises_are_registered_in_the_order_of_the_chapter():
    assert [e.name for e in exercises() if e.chapter == CHAPTER] == NAMES
    for name in NAMES:
        assert name in repr(progress(chapter=CHAPTER))


@each_exercise
def test_stub_is_to_do(exercise, capsys):
    names = list(inspect.signature(exercise.reference).parameters)
    stub = eval(f"lambda {', '.join(names)}: None")
    assert check(exercise.name, stub) is exercise.reference
    assert f"[TO DO] {exercise.name}" in capsys.readouterr().out


@each_exercise
def test_reference_is_correct_and_its_source_solves_the_stub(exercise, monkeypatch):
    monkeypatch.setenv("ECE661_STRICT", "1")
    assert check(exercise.name, exercise.reference) is exercise.reference
    namespace = {"torch": torch, "F": F, "math": math}  # what the chapter imports
    exec(solution_source(exercise.name), namespace)
    answer = namespace[exercise.name]
    assert check(exercise.name, answer) is answer


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_every_mistake_is_not_yet_with_its_own_message(exercise, mistake, monkeypatch):
    verdict = _verdict(exercise, mistake.implementation)
    assert verdict.state == "not yet"
    assert verdict.message == mistake.message
    assert verdict.evidence is not None
    assert verdict.evidence.table is not None
    assert "←" in repr(verdict)
    monkeypatch.setenv("ECE661_STRICT", "1")
    with pytest.raises(NotSolvedError):
        check(exercise.name, mistake.implementation)


@each_exercise
def test_mistakes_differ_from_each_other_on_the_cases(exercise):
    messages = [mistake.message for mistake in exercise.mistakes]
    assert len(set(messages)) == len(messages) >= 3
    for one, other in combinations(exercise.mistakes, 2):
        assert any(
            not _same(
                exercise, _call(one.implementation, args), other.implementation(*args)
            )
            for args in exercise.cases
        )


@each_exercise
def test_cases_are_deterministic_double_precision_and_left_alone(exercise):
    for args in exercise.cases + exercise.edges:
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        assert all(t.dtype == torch.float64 for t in tensors)
        outcome = _call(exercise.reference, args)
        assert outcome.error is None
        assert outcome.changed is None
        assert _same(exercise, outcome, exercise.reference(*args))


def mix_the_outputs(x, pi, weight):
    outputs = torch.stack([F.conv2d(x, kernel) for kernel in weight], dim=1)
    return (pi[:, :, None, None, None] * outputs).sum(1)


def one_image_after_the_other(x, pi, weight):
    return torch.cat(
        [
            F.conv2d(
                image[None], sum(p * w for p, w in zip(share, weight, strict=True))
            )
            for image, share in zip(x, pi, strict=True)
        ]
    )


def flops_by_sum(in_channels, out_channels, size, kernels):
    hidden = max(in_channels // 4, kernels)
    weights = out_channels * in_channels * 3 * 3
    return (
        2 * weights * size * size
        + 2 * kernels * weights
        + 2 * in_channels * hidden
        + 2 * hidden * kernels
    )


def temperature_by_bisection(gap, share, kernels):
    def excess(temperature):
        others = (kernels - 1) * math.exp(-gap / temperature)
        return 1 / (1 + others) - share

    return brentq(excess, 1e-3, 1e9, xtol=1e-12)


def average_of_the_mixed(pi, weight):
    return torch.einsum("nk,koihw->noihw", pi, weight).mean(0)


ALTERNATIVES = {
    "mixed_convolution": [mix_the_outputs, one_image_after_the_other],
    "dynamic_flops": [flops_by_sum],
    "temperature_for": [temperature_by_bisection],
    "average_kernel": [average_of_the_mixed],
}


@each_exercise
def test_a_right_answer_written_differently_is_accepted(exercise):
    for answer in ALTERNATIVES[exercise.name]:
        verdict = _verdict(exercise, answer)
        assert verdict.state == "correct", verdict


# --- the references against something independent --------------------------------


def test_mixed_convolution_is_the_packages_and_the_mixture_of_outputs():
    x, weight = random(5, 3, 6, 7), random(4, 2, 3, 3, 2, seed=1)
    pi = random(5, 4, seed=2).softmax(1)
    result = solutions.mixed_convolution(x, pi, weight)
    torch.testing.assert_close(result, mix_the_outputs(x, pi, weight))
    torch.testing.assert_close(result, mixed_conv2d(x, pi, weight))


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "size", "kernels"),
    [(64, 64, 16, 4), (4, 8, 14, 4), (20, 7, 5, 3), (3, 3, 1, 1)],
)
def test_dynamic_flops_are_those_the_counter_sees(
    in_channels, out_channels, size, kernels
):
    with torch.device("meta"):
        layer = DynamicConv2d(
            in_channels, out_channels, 3, padding=1, bias=False, kernels=kernels
        )
        x = torch.zeros(1, in_channels, size, size)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    found = solutions.dynamic_flops(in_channels, out_channels, size, kernels)
    assert found == counter.get_total_flops()


@pytest.mark.parametrize("kernels", [2, 4, 9])
@pytest.mark.parametrize("share", [0.55, 0.9, 0.999])
def test_temperature_for_gives_the_share_it_was_asked_for(share, kernels):
    gap = 1.7
    temperature = solutions.temperature_for(gap, share, kernels)
    logits = torch.zeros(kernels, dtype=torch.float64)
    logits[0] = gap
    shares = (logits / temperature).softmax(0)
    assert float(shares[0]) == pytest.approx(share)


def test_average_kernel_is_the_static_layer_nearest_to_the_dynamic_one():
    """No other kernel is nearer to the kernels that the images get."""
    pi, weight = random(6, 3).softmax(1), random(3, 2, 2, 3, 3, seed=1)
    kernels = (pi @ weight.flatten(1)).view(6, -1)
    nearest = torch.linalg.lstsq(torch.ones(6, 1).double(), kernels).solution
    result = solutions.average_kernel(pi, weight)
    torch.testing.assert_close(result.flatten(), nearest[0])
