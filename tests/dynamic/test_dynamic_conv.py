"""Dynamic convolution: one grouped convolution, all options of Conv2d, attention."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import (
    DynamicConv2d,
    KernelAttention,
    TemperatureAnnealing,
    dynamic_layers,
    kernel_attention,
    make_dynamic,
    mixed_conv,
    mixed_conv2d,
    set_temperature,
    with_average_attention,
)
from ece661_sparse.models import NarrowCNN, ResNet

EXACT = {"rtol": 0, "atol": 1e-12}


def images(*shape, dtype=torch.float64, **options):
    return torch.randn(*shape, dtype=dtype, **options)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=[1, 300, 10**9], ids=["one by one", "in pieces", "all at once"])
def at_once(request, monkeypatch):
    monkeypatch.setattr(mixed_conv, "_MIXED_WEIGHTS_AT_ONCE", request.param)


# --- one grouped convolution is what the slide says -----------------------------------


def image_by_image(x, pi, weight, bias, **options):
    """The slide, read aloud: mix, convolve, next image."""
    outputs = []
    for image, share in zip(x, pi, strict=True):
        kernel = sum(p * w for p, w in zip(share, weight, strict=True))
        b = None if bias is None else share @ bias
        outputs.append(F.conv2d(image[None], kernel, b, **options))
    return torch.cat(outputs)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("with_bias", [True, False])
def test_grouped_is_image_by_image(groups, with_bias, at_once):
    x = images(5, 4, 7, 6, requires_grad=True)
    pi = images(5, 3).softmax(1).detach().requires_grad_()
    weight = images(3, 6, 4 // groups, 3, 2, requires_grad=True)
    bias = images(3, 6, requires_grad=True) if with_bias else None
    inputs = [t for t in (x, pi, weight, bias) if t is not None]
    options = {"stride": (2, 1), "padding": (1, 0), "groups": groups}
    found, expected = (
        convolve(x, pi, weight, bias, **options)
        for convolve in (mixed_conv2d, image_by_image)
    )
    torch.testing.assert_close(found, expected, **EXACT)
    direction = torch.randn_like(found)
    grads = [torch.autograd.grad(y, inputs, direction) for y in (found, expected)]
    torch.testing.assert_close(*grads, **EXACT)


def test_gradients_of_both_orders(at_once):
    layer = DynamicConv2d(2, 2, 2, padding=1, kernels=2, dtype=torch.float64)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    assert any(name.startswith("attention.fc1") for name in names)

    def layer_of(x, *parameters):
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, named, (x,))

    inputs = (images(2, 2, 3, 2, requires_grad=True), *parameters)
    assert torch.autograd.gradcheck(layer_of, inputs)
    assert torch.autograd.gradgradcheck(layer_of, inputs)


def test_images_that_need_no_gradient_get_none_and_change_nothing():
    layer, x = DynamicConv2d(3, 4, 3, dtype=torch.float64), images(2, 3, 5, 5)
    for p in layer.attention.parameters():
        p.requires_grad_(False)
    layer(x).sum().backward()
    grad = layer.weight.grad.clone()
    layer.zero_grad()
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(layer.weight.grad, grad, **EXACT)


# --- a drop-in replacement -------------------------------------------------------


@st.composite
def conv_options(draw):
    groups = draw(st.sampled_from([1, 2, 4]))
    stride = draw(st.sampled_from([1, 2, (1, 2)]))
    padding = draw(st.sampled_from([0, 1, (2, 1), "same", "valid"]))
    return {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": draw(st.sampled_from([1, 2, 3, (1, 3), (4, 2)])),
        "stride": 1 if padding == "same" else stride,
        "padding": padding,
        "dilation": draw(st.sampled_from([1, 2, (1, 2)])),
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(
            st.sampled_from(["zeros", "reflect", "replicate", "circular"])
        ),
    }


@given(options=conv_options(), kernels=st.integers(1, 4), batch=st.integers(0, 3))
@settings(max_examples=120)
def test_every_option_means_what_it_means_to_conv2d(options, kernels, batch):
    layer = DynamicConv2d(**options, kernels=kernels, dtype=torch.float64)
    x = images(batch, options["in_channels"], 9, 8)
    y, pi = layer(x), layer.attention(x)
    twin = nn.Conv2d(**options, dtype=torch.float64)
    expected = 0
    for k in range(kernels):
        twin.weight.data = layer.weight.data[k]
        if layer.bias is not None:
            twin.bias.data = layer.bias.data[k]
        expected = expected + pi[:, k, None, None, None] * twin(x)
    torch.testing.assert_close(y, expected, **EXACT)


@given(options=conv_options())
@settings(max_examples=30)
def test_from_conv_computes_what_the_convolution_does(options):
    conv = nn.Conv2d(**options, dtype=torch.float64)
    layer = DynamicConv2d.from_conv(conv)
    x = images(2, options["in_channels"], 9, 8)
    torch.testing.assert_close(layer(x), conv(x), **EXACT)
    assert layer.kernels == 4
    assert layer.weight.data_ptr() != conv.weight.data_ptr()


def test_one_kernel_is_a_convolution_and_leaves_no_choice():
    conv = nn.Conv2d(3, 5, 3, padding=1)
    layer = DynamicConv2d.from_conv(conv, kernels=1)
    x, direction = torch.randn(4, 3, 8, 8), torch.randn(4, 5, 8, 8)
    for module in (conv, layer):
        module(x).backward(direction)
    torch.testing.assert_close(layer.weight.grad[0], conv.weight.grad)
    assert all(p.grad.abs().max() < 1e-6 for p in layer.attention.parameters())


def test_a_single_image_without_a_batch():
    layer, x = DynamicConv2d(3, 5, 3, padding=1), torch.randn(3, 6, 6)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


def test_channels_last_images():
    layer, x = DynamicConv2d(8, 6, 3, padding=1), torch.randn(4, 8, 6, 6)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(last), layer(x))


def test_its_kernels_start_as_those_of_conv2d():
    layer, conv = DynamicConv2d(16, 32, 3, kernels=4), nn.Conv2d(16, 32, 3)
    bound = (16 * 9) ** -0.5
    for mine, theirs in ((layer.weight, conv.weight), (layer.bias, conv.bias)):
        assert mine.abs().max() <= bound
        assert theirs.abs().max() <= bound
        assert float(mine.detach().abs().max()) > 0.9 * bound
    assert not torch.equal(layer.weight[0], layer.weight[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_stays_in_the_dtype_of_its_input(dtype):
    layer = DynamicConv2d(3, 4, 3, padding="same", padding_mode="reflect", dtype=dtype)
    x = torch.randn(2, 3, 6, 6).to(dtype).requires_grad_()
    y = layer(x)
    assert y.dtype == dtype
    y.sum().backward()
    assert all(p.grad.dtype == dtype for p in (x, *layer.parameters()))


def test_under_autocast_it_does_as_conv2d_does():
    layer, x = DynamicConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 6)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, rtol=0, atol=0.05)
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_forward_and_backward_stay_on_the_device_of_the_input():
    with torch.device("meta"):
        layer = DynamicConv2d(3, 4, 3, padding="same", kernels=2)
        x = torch.zeros(5, 3, 6, 6)
    y = layer(x)
    assert y.is_meta
    assert y.shape == (5, 4, 6, 6)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.is_meta for p in layer.parameters())


def test_copies_and_saved_states_are_whole():
    layer, x = DynamicConv2d(3, 4, 3), torch.randn(2, 3, 6, 6)
    set_temperature(layer, 7.0)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))
    other = DynamicConv2d(3, 4, 3)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    twin.weight.data.zero_()
    twin.bias.data.zero_()
    assert not layer(x).equal(twin(x))
    assert "kernels=4" in repr(layer)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kernels": 0}, "kernels=0"),
        ({"kernels": 2.5}, "kernels=2.5"),
        ({"groups": 2}, "in_channels"),
        ({"padding": "same", "stride": 2}, "same"),
        ({"padding_mode": "mirror"}, "mirror"),
    ],
)
def test_layers_that_do_not_exist_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        DynamicConv2d(3, 4, 3, **wrong)


@pytest.mark.parametrize(
    ("shapes", "groups", "named"),
    [
        ([(3, 6, 6), (2, 4), (4, 5, 3, 3, 3), None], 1, "x "),
        ([(2, 3, 6, 6), (2, 3), (4, 5, 3, 3, 3), None], 1, "pi "),
        ([(2, 3, 6, 6), (1, 4), (4, 5, 3, 3, 3), None], 1, "pi "),
        ([(2, 3, 6, 6), (2, 4), (4, 5, 3, 3), None], 1, "weight "),
        ([(2, 3, 6, 6), (2, 4), (4, 5, 3, 3, 3), (5,)], 1, "bias "),
        ([(2, 6, 6, 6), (2, 4), (4, 5, 3, 3, 3), None], 1, "groups=1"),
        ([(2, 6, 6, 6), (2, 4), (4, 5, 3, 3, 3), None], 2, "groups=2"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(shapes, groups, named):
    x, pi, weight, bias = (None if s is None else torch.zeros(s) for s in shapes)
    with pytest.raises(ValueError, match=named):
        mixed_conv2d(x, pi, weight, bias, groups=groups)


# --- attention and temperature ---------------------------------------------------


def test_shares_are_the_softmax_of_the_slide():
    attention = KernelAttention(12, 3).double()
    x = images(5, 12, 4, 4)
    z = attention.fc2(attention.fc1(x.flatten(2).mean(2)).relu())
    set_temperature(attention, 2.5)
    expected = (z / 2.5).exp() / (z / 2.5).exp().sum(1, keepdim=True)
    torch.testing.assert_close(attention(x), expected, **EXACT)
    torch.testing.assert_close(attention.logits(x), z, **EXACT)


@pytest.mark.parametrize(("channels", "hidden"), [(64, 16), (16, 4), (4, 4), (3, 4)])
def test_the_squeeze_is_a_quarter_and_no_less_than_the_kernels(channels, hidden):
    assert KernelAttention(channels, 4).fc1.out_features == hidden


def test_the_attention_sees_averages_only():
    attention, x = KernelAttention(4, 3).double(), images(2, 4, 6, 5)
    shuffled = x.flatten(2)[:, :, torch.randperm(30)].view_as(x)
    torch.testing.assert_close(attention(shuffled), attention(x), **EXACT)


def test_hot_attention_is_uniform_cold_attention_chooses_one():
    attention, x = KernelAttention(8, 4).double(), images(6, 8, 4, 4)
    z = attention.logits(x)
    set_temperature(attention, 1e9)
    torch.testing.assert_close(
        attention(x), torch.full_like(z, 0.25), rtol=0, atol=1e-6
    )
    set_temperature(attention, 1e-6)
    torch.testing.assert_close(attention(x), F.one_hot(z.argmax(1), 4).double())


def test_at_infinite_temperature_the_layer_is_the_average_kernel():
    layer, x = DynamicConv2d(3, 5, 3, dtype=torch.float64), images(4, 3, 6, 6)
    set_temperature(layer, 1e15)
    expected = F.conv2d(x, layer.weight.mean(0), layer.bias.mean(0))
    torch.testing.assert_close(layer(x), expected, **EXACT)


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_temperatures_that_do_not_exist_are_refused(wrong):
    layer = DynamicConv2d(3, 4, 3)
    with pytest.raises(ValueError, match="temperature"):
        set_temperature(layer, wrong)
    assert layer.attention.temperature == 1


def test_kernel_attention_reports_every_layer():
    model = make_dynamic(NarrowCNN(2), kernels=3, skip=("conv1",)).eval()
    x = torch.randn(5, 1, 28, 28)
    shares = kernel_attention(model, x)
    assert list(shares) == ["conv2", "conv3"]
    first = model.bn1(model.conv1(x)).relu()
    torch.testing.assert_close(shares["conv2"], model.conv2.attention(first))
    for pi in shares.values():
        assert not pi.requires_grad
        torch.testing.assert_close(pi.sum(1), torch.ones(5))
    assert not model.conv2.attention._forward_hooks


def test_a_look_changes_neither_statistics_nor_modes():
    model = make_dynamic(NarrowCNN(2)).train()
    frozen = model.bn1.eval()
    before = copy.deepcopy(model.state_dict())
    kernel_attention(model, torch.randn(5, 1, 28, 28))
    static = with_average_attention(model, torch.randn(5, 1, 28, 28))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m for m in model.modules() if not m.training] == [frozen]
    assert static.training and static.conv2.training and not static.bn1.training


# --- annealing ------------------------------------------------------------------------


def annealing(**options):
    model = DynamicConv2d(3, 4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return model.attention, optimizer, TemperatureAnnealing(optimizer, model, **options)


def test_the_temperature_falls_linearly_and_stays():
    attention, optimizer, schedule = annealing(epochs=4)
    seen = [attention.temperature.item()]
    for _ in range(6):
        optimizer.step()
        schedule.step()
        seen.append(attention.temperature.item())
    assert seen == [30, 22.75, 15.5, 8.25, 1, 1, 1]


@pytest.mark.parametrize("wrong", [{"start": 0}, {"end": -1.0}, {"epochs": 0}], ids=str)
def test_schedules_that_do_not_exist_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}=.*{value}"):
        annealing(**wrong)


# --- whole networks, parameters, arithmetic --------------------------------------


def test_make_dynamic_keeps_the_function_and_skips_what_it_is_told():
    model = ResNet(8).double().eval()
    x = images(2, 3, 16, 16)
    before = model(x)
    assert make_dynamic(model, skip=("stem.0",)) is model
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-10)
    assert type(model.stem[0]) is nn.Conv2d
    assert len(list(dynamic_layers(model))) == 8  # 6 in blocks, 2 in shortcuts
    assert all(layer.training is False for _, layer in dynamic_layers(model))


def test_make_dynamic_refuses_names_it_does_not_know_and_models_without_layers():
    with pytest.raises(ValueError, match="conv7"):
        make_dynamic(NarrowCNN(2), skip=("conv7",))
    for model in (nn.Sequential(nn.Linear(3, 3)), nn.Conv2d(3, 4, 3)):
        with pytest.raises(ValueError, match="must hold convolutions"):
            make_dynamic(model)


class TwiceNamed(nn.Module):
    """One convolution under two names, and in a list."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = self.first
        self.every = nn.ModuleList([self.first, nn.Conv2d(3, 3, 1)])

    def forward(self, x):
        return self.every[1](self.second(self.first(x).relu()))


def test_a_layer_of_several_names_stays_one_layer():
    model, x = TwiceNamed().double(), images(2, 3, 5, 5)
    before = model(x)
    kept = make_dynamic(copy.deepcopy(model), skip=("second",))
    assert type(kept.first) is type(kept.second) is nn.Conv2d
    make_dynamic(model)
    assert model.first is model.second is model.every[0]
    assert len(list(dynamic_layers(model))) == 2
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-10)
    static = with_average_attention(model, x)
    assert static.first is static.second is static.every[0]
    assert not list(dynamic_layers(static))
    torch.testing.assert_close(static(x), before, rtol=0, atol=1e-10)


def test_average_attention_leaves_one_static_kernel_for_each_layer():
    model = make_dynamic(NarrowCNN(2).double(), kernels=3, skip=("conv1",)).eval()
    for _, layer in dynamic_layers(model):
        layer.reset_parameters()
    x = images(6, 1, 28, 28)
    shares, before = kernel_attention(model, x), model(x)
    static = with_average_attention(model, x)
    assert not list(dynamic_layers(static))
    for name, pi in shares.items():
        expected = torch.einsum("k,k...", pi.mean(0), model.get_submodule(name).weight)
        torch.testing.assert_close(static.get_submodule(name).weight, expected, **EXACT)
    assert torch.equal(model(x), before)
    assert not torch.allclose(static(x), before)
    # for a single image the average is its own attention
    torch.testing.assert_close(
        with_average_attention(model, x[:1])(x[:1]), model(x[:1]), rtol=0, atol=1e-10
    )


def test_average_attention_keeps_every_option_of_the_layer():
    options = {"padding": "same", "dilation": (1, 2), "groups": 2}
    layer = DynamicConv2d(4, 6, (3, 2), padding_mode="reflect", **options).double()
    model, x = nn.Sequential(layer), images(1, 4, 7, 7)
    torch.testing.assert_close(
        with_average_attention(model, x)(x), model(x), rtol=0, atol=1e-10
    )


def flops(model, x):
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


def test_storage_is_k_fold_and_arithmetic_is_not():
    with torch.device("meta"):
        static = nn.Conv2d(64, 64, 3, padding=1)
        dynamic = DynamicConv2d(64, 64, 3, padding=1, kernels=4)
        x = torch.zeros(8, 64, 16, 16)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (static, dynamic)]
    attention = 64 * 16 + 16 + 16 * 4 + 4
    assert sizes == [64 * 64 * 9 + 64, 4 * (64 * 64 * 9 + 64) + attention]
    assert sizes[1] / sizes[0] == pytest.approx(4.03, abs=0.005)

    kernel = 64 * 64 * 9
    mixing = 2 * 4 * (kernel + 64) * 8
    squeeze = 2 * (64 * 16 + 16 * 4) * 8
    assert flops(static, x) == 2 * kernel * 256 * 8
    assert flops(dynamic, x) == flops(static, x) + mixing + squeeze
    assert flops(dynamic, x) / flops(static, x) == pytest.approx(1 + 4 / 256, abs=2e-4)


def test_mobilenet_v2_costs_four_percent_more():
    # what the paper's abstract claims for its K = 4
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        model = models.mobilenet_v2().eval()
        x = torch.zeros(1, 3, 224, 224)
    static = flops(model, x) / 2
    make_dynamic(model, kernels=4, skip=("features.0.0",))
    dynamic = flops(model, x) / 2
    assert static == pytest.approx(300.0e6, rel=0.005)
    assert dynamic / static == pytest.approx(1.04, abs=0.005)
