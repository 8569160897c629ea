"""The network is the article's, and its relatives keep what it promises."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from napari_lungseg.unet import ARTICLE, PRESETS, UNet, UNetConfig, fold_batch_norm, parameter_summary, probabilities


def small(**settings) -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(**{"base_width": 8, "depth": 2, **settings}))


@pytest.fixture(scope="module")
def article() -> UNet:
    return UNet(ARTICLE)


def test_the_article_preset_has_the_articles_parameters(article: UNet):
    summary = parameter_summary(article)
    assert summary["total"] == summary["trainable"] == 31_040_321
    assert summary["total"] == sum(summary[part] for part in ("down", "middle", "up", "head"))
    assert PRESETS["article"] == ARTICLE == UNetConfig()


def test_the_article_preset_has_the_articles_blocks(article: UNet):
    full = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    for block, width in zip(article.down, (64, 128, 256, 512)):
        assert [type(layer) for layer in block] == full
        assert block[0].out_channels == block[3].out_channels == width
    assert [type(layer) for layer in article.middle] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.ReLU]
    assert article.middle[3].out_channels == 1024
    for up, width in zip(article.up, (512, 256, 128, 64)):
        assert (up.up.in_channels, up.up.out_channels, up.up.kernel_size, up.up.stride) == (2 * width, width, (2, 2), (2, 2))
        assert [type(layer) for layer in up.block] == full
        assert (up.block[0].in_channels, up.block[0].out_channels) == (2 * width, width)
    convolutions = [module for module in article.modules() if type(module) is nn.Conv2d and module is not article.head]
    assert {(module.kernel_size, module.padding) for module in convolutions} == {((3, 3), (1, 1))}
    assert (article.head.kernel_size, article.head.out_channels) == ((1, 1), 1)
    assert (article.pool.kernel_size, article.pool.ceil_mode) == (2, True)


def test_the_skip_comes_first_in_the_concatenation():
    up = small().up[0]
    seen = []
    up.block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    skip = torch.full((1, 16, 6, 6), 7.0)
    up(torch.zeros(1, 32, 3, 3), skip)
    assert torch.equal(seen[0][:, :16], skip)


def test_up_sampling_is_resized_bilinearly_with_aligned_corners():
    up = small().up[0]
    seen = []
    up.block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 32, 3, 3)
    up(x, torch.zeros(1, 16, 5, 5))
    expected = nn.functional.interpolate(up.up(x), size=(5, 5), mode="bilinear", align_corners=True)
    assert torch.allclose(seen[0][:, 16:], expected)


def test_pooling_rounds_up():
    network = small(depth=3)
    heights = []
    for block in [*network.down, network.middle]:
        block.register_forward_hook(lambda module, inputs, output: heights.append(output.shape[-2]))
    network(torch.zeros(2, 1, 21, 16))
    assert heights == [21, 11, 6, 3]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (17, 33), (32, 32), (31, 64)])
@pytest.mark.parametrize("settings", [{}, {"patch": 2, "norm": "group"}, {"patch": 3, "depth": 1}, {"classes": 2, "context_slices": 1}])
def test_any_input_size_comes_out_at_its_own_size(size, settings):
    network = small(**settings).eval()
    with torch.inference_mode():
        logits = network(torch.randn(2, network.config.in_channels, *size))
    assert logits.shape == (2, network.config.out_channels, *size)
    assert logits.isfinite().all()


def test_initialisation():
    torch.manual_seed(0)
    network = UNet(UNetConfig(base_width=32, depth=2))
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            assert module.bias.abs().max() == 0
            fan_in = module.weight[0].numel()
            if module.weight.numel() > 5000:
                assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()


def test_one_class_is_a_sigmoid_and_several_are_a_softmax():
    logits = torch.randn(2, 1, 3, 3)
    assert torch.allclose(probabilities(logits), 1 / (1 + torch.exp(-logits)))
    logits = torch.randn(2, 4, 3, 3)
    foreground = probabilities(logits)
    assert foreground.shape == (2, 3, 3, 3)
    background = torch.exp(logits[:, :1]) / torch.exp(logits).sum(dim=1, keepdim=True)
    assert torch.allclose(foreground.sum(dim=1, keepdim=True), 1 - background, atol=1e-6)
    assert UNetConfig(classes=1).out_channels == 1
    assert UNetConfig(classes=2).out_channels == 3


def test_frozen_batch_norm_survives_training():
    network = small()
    network.freeze_norm()
    network.train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.running_mean.clone(), norm.weight.clone()) for norm in norms]
    network(3 + torch.randn(4, 1, 16, 16)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    for norm, (mean, weight) in zip(norms, before):
        assert not norm.training
        assert torch.equal(norm.running_mean, mean)
        assert torch.equal(norm.weight, weight)
    assert network.training
    summary = parameter_summary(network)
    assert summary["total"] - summary["trainable"] == sum(p.numel() for norm in norms for p in norm.parameters())


def test_batch_norm_moves_unless_frozen():
    network = small().train()
    norm = network.down[0][1]
    network(3 + torch.randn(4, 1, 16, 16))
    assert norm.running_mean.abs().max() > 0


def test_folded_batch_norm_gives_the_same_output():
    network = small()
    for _ in range(3):
        network(1 + 2 * torch.randn(4, 1, 16, 16))
    network.eval()
    x = torch.randn(2, 1, 19, 23)
    with torch.inference_mode():
        expected = network(x)
        folded = fold_batch_norm(network)(x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert torch.allclose(folded, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_group_norm_does_not_depend_on_the_batch():
    network = small(norm="group", patch=2).train()
    x = torch.randn(3, 1, 16, 16)
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-4)


def test_the_patch_keeps_every_pixel_in_its_place():
    network = small(patch=2, depth=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.head.bias[:] = torch.arange(4.0)
        logits = network(torch.zeros(1, 1, 5, 6))[0, 0]
    assert torch.equal(logits[:2, :2], torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    assert torch.equal(logits[2:4, 2:4], logits[:2, :2])


def test_every_level_doubles_its_width():
    widths = [block[0].out_channels for block in small(depth=3).down]
    assert all(after == 2 * before for before, after in pairwise(widths))


@pytest.mark.parametrize(
    "wrong", [{"base_width": 0}, {"depth": 99}, {"classes": 1.5}, {"norm": "layer"}, {"patch": -1}, {"base_width": 512}]
)
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        UNetConfig(**wrong)
