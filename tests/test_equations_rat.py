"""RATLIP E1-E7 and shuffle attention: by hand in float64, and every sample by itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import CAPTIONS, one_stage, randn
from torch import Tensor, nn
from torch.testing import assert_close

from t2i_core.affine import Affine, Heads, PublishedRecurrentAffine, RecurrentAffine, State, scale_and_shift
from t2i_core.config import UserError
from t2i_core.metrics.state_probe import states_of
from t2i_core.shuffle_attention import ShuffleAttention
from t2i_core.systems.galip import BridgeBlock
from t2i_core.systems.one_stage import FusionBlock

COND, NOISE, HIDDEN, FEATURES = 5, 3, 4, (6, 6, 2)


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def awake(module: Any, seed: int = 0) -> Any:
    """In float64 and with random parameters throughout: heads that start at the identity hide every mistake."""
    draw = torch.Generator().manual_seed(seed)
    module = module.double()
    for parameter in module.parameters():
        parameter.data = 0.7 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return module


def rat(hidden: int = HIDDEN, lstm: str = "shared") -> RecurrentAffine:
    return awake(RecurrentAffine(COND, NOISE, hidden, FEATURES, lstm))


def maps(batch: int = 4) -> list[Tensor]:
    """One feature map a step."""
    return [randn(batch, c, 2, 3, seed=10 + k) for k, c in enumerate(FEATURES)]


def through(module, xs: list[Tensor], s: Tensor, z: Tensor) -> list[Tensor]:
    """All affine steps in turn, each on a feature map of its own."""
    state, out = module.start(z), []
    for k, x in enumerate(xs):
        x, state = module.step(k, x, s, state)
        out.append(x)
    return out


def gates(cell: nn.LSTMCell, s: Tensor, h: Tensor) -> list[Tensor]:
    """E4 with the cell's own weights, row by row: i, f, o, u. (torch stacks them i, f, u, o and calls u "g".)"""
    rows = []
    for row in range(4 * cell.hidden_size):
        total = cell.bias_ih[row] + cell.bias_hh[row]
        total = total + sum(cell.weight_ih[row, j] * s[:, j] for j in range(cell.input_size))
        rows.append(total + sum(cell.weight_hh[row, j] * h[:, j] for j in range(cell.hidden_size)))
    i, f, u, o = torch.stack(rows, 1).chunk(4, dim=1)
    return [torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o), torch.tanh(u)]


# ---------------------------------------------------------------- E1, E2: the isolated transform


def test_e1_by_hand():
    x = tensor([[[[1.0, -2.0]], [[3.0, 0.5]]], [[[1.0, 1.0]], [[2.0, 2.0]]]])  # (B 2, C 2, 1, 2)
    gamma, beta = tensor([[2.0, -1.0], [0.0, 0.5]]), tensor([[1.0, 0.0], [7.0, -1.0]])
    expected = tensor([[[[3.0, -3.0]], [[-3.0, -0.5]]], [[[7.0, 7.0]], [[0.0, 0.0]]]])
    assert_close(scale_and_shift(x, gamma, beta), expected, rtol=0, atol=0)


def test_e1_gradient():
    x, gamma, beta = (t.requires_grad_() for t in (randn(2, 3, 2, 2), randn(2, 3, seed=1), randn(2, 3, seed=2)))
    assert torch.autograd.gradcheck(scale_and_shift, (x, gamma, beta))
    scale_and_shift(x, gamma, beta).sum().backward()
    assert_close(beta.grad, torch.full((2, 3), 4.0, dtype=torch.float64))  # one for each place of the map
    assert_close(gamma.grad, x.sum((2, 3)))


def test_e2_by_hand_with_one_hidden_layer():
    heads = awake(Heads(COND, 3))
    condition = randn(2, COND)
    for found, net in zip(heads(condition), (heads.gamma, heads.beta), strict=True):
        first, _, last = net
        expected = torch.relu(condition @ first.weight.T + first.bias) @ last.weight.T + last.bias
        assert_close(found, expected)
    assert count(heads) == 2 * ((COND * 3 + 3) + (3 * 3 + 3))


@pytest.mark.parametrize("module", ["cat", "shared", "per-affine", "none", "published"])
def test_it_starts_as_the_identity(module):
    x, s, z = maps(), randn(4, COND), randn(4, NOISE, seed=1)
    if module == "cat":
        assert_close(Affine(COND, 6).double()(x[0], s), x[0], rtol=0, atol=0)
        return
    built = {
        "shared": lambda: RecurrentAffine(COND, NOISE, HIDDEN, FEATURES),
        "per-affine": lambda: RecurrentAffine(COND, NOISE, HIDDEN, FEATURES, "per-affine"),
        "none": lambda: RecurrentAffine(COND, NOISE, 0, FEATURES),
        "published": lambda: PublishedRecurrentAffine(COND, NOISE, HIDDEN, FEATURES),
    }[module]().double()
    for before, after in zip(x, through(built, x, s, z), strict=True):
        assert_close(after, before, rtol=0, atol=0)


def test_cat_is_e1_of_e2():
    module = awake(Affine(COND, 6))
    x, s = maps()[0], randn(4, COND)
    gamma, beta = module.heads(s)
    assert_close(module(x, s), torch.einsum("bc,bchw->bchw", gamma, x) + beta[..., None, None])


# ---------------------------------------------------------------- E3 to E6: the cell


def test_e3_by_hand_and_it_differs_with_the_noise():
    module, z = rat(), randn(3, NOISE)
    state = module.start(z)
    for found, linear in ((state.h, module.initial_h), (state.c, module.initial_c)):
        assert_close(found, z @ linear.weight.T + linear.bias)
        assert (found[0] != found[1]).all() and found.shape == (3, HIDDEN)
    assert (state.h != state.c).all()  # MLP_3 and MLP_4 are two


def test_e4_to_e6_by_hand_through_all_steps():
    module, s, z = rat(), randn(2, COND), randn(2, NOISE, seed=1)
    state = module.start(z)
    h, c = state.h, state.c
    for k in range(len(FEATURES)):
        i, f, o, u = gates(module.cells[0], s, h)
        c = f * c + i * u  # E5
        h = o * torch.tanh(c)  # E6
        _, _, state = module.modulation(k, s, state)
        assert_close(state.h, h)
        assert_close(state.c, c)


def test_e4_hand_values_of_a_single_unit():
    module = rat(hidden=1)
    cell = module.cells[0]
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.weight_ih.data[:, 0] = tensor([1.0, 2.0, 0.5, 3.0])  # i, f, u, o of the first feature
    cell.weight_hh.data[:, 0] = tensor([0.0, 0.0, 1.0, 0.0])  # u also hears h
    s, state = tensor([[1.0, 9.0, 9.0, 9.0, 9.0]]), State(tensor([[0.5]]), tensor([[-1.0]]))

    def sigma(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    c = sigma(2) * -1.0 + sigma(1) * math.tanh(0.5 + 0.5)
    _, _, after = module.modulation(0, s, state)
    assert_close(after.c.item(), c)
    assert_close(after.h.item(), sigma(3) * math.tanh(c))


def test_e4_maps_sentence_and_state_to_four_times_the_units():
    cell = rat().cells[0]
    assert cell.weight_ih.shape == (4 * HIDDEN, COND) and cell.weight_hh.shape == (4 * HIDDEN, HIDDEN)


def test_e4_against_torchs_own_lstm_over_the_steps():
    module, s, z = rat(), randn(2, COND), randn(2, NOISE, seed=1)
    state = start = module.start(z)
    states = []
    for k in range(len(FEATURES)):
        _, _, state = module.modulation(k, s, state)
        states.append(state.h)
    lstm = nn.LSTM(COND, HIDDEN, batch_first=True).double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    lstm.load_state_dict({f"{name}_l0": getattr(module.cells[0], name) for name in names})
    expected, (_, c) = lstm(s[:, None].expand(-1, len(FEATURES), -1), (start.h[None], start.c[None]))
    assert_close(torch.stack(states, 1), expected)
    assert_close(state.c, c[0])


# ---------------------------------------------------------------- E7: the heads of each step


def test_e7_every_step_has_heads_of_its_own_that_read_the_new_state():
    module, s, z = rat(), randn(2, COND), randn(2, NOISE, seed=1)
    state = module.start(z)
    for k, channels in enumerate(FEATURES):
        gamma, beta, state = module.modulation(k, s, state)
        first, _, last = module.heads[k].gamma
        assert_close(gamma, torch.relu(first(state.h)) @ last.weight.T + last.bias)
        assert_close(beta, module.heads[k].beta(state.h))
        assert gamma.shape == beta.shape == (2, channels)
    owned = [id(p) for heads in module.heads for p in heads.parameters()]
    assert len(set(owned)) == len(owned) == 8 * len(FEATURES)


@pytest.mark.parametrize(("hidden", "depends"), [(HIDDEN, True), (0, False)])
def test_e7_later_steps_hear_earlier_states_and_earlier_ones_nothing_of_later(hidden, depends):
    module, s, z = rat(hidden), randn(1, COND), randn(1, NOISE, seed=1)
    for disturbed in range(len(FEATURES)):
        bump = torch.zeros(1, hidden or NOISE, dtype=torch.float64, requires_grad=True)
        state, gammas = module.start(z), []
        for k in range(len(FEATURES)):
            gamma, _, state = module.modulation(k, s, state)
            gammas.append(gamma)
            if k == disturbed and hidden:
                state = State(state.h + bump, state.c)
        for k, gamma in enumerate(gammas):
            (slope,) = torch.autograd.grad(gamma.sum(), bump, retain_graph=True, allow_unused=True)
            assert (slope is not None and bool((slope != 0).any())) == (depends and k > disturbed)


def test_step_applies_e1_to_what_e7_says():
    module, s, z, xs = rat(), randn(4, COND), randn(4, NOISE, seed=1), maps()
    state = module.start(z)
    for k, (x, out) in enumerate(zip(xs, through(module, xs, s, z), strict=True)):
        gamma, beta, state = module.modulation(k, s, state)
        assert_close(out, gamma[..., None, None] * x + beta[..., None, None], rtol=0, atol=0)


# ---------------------------------------------------------------- F2: the blocks around it


def test_f2_a_fusion_block_is_two_affines_and_two_activations():
    block, x, s = awake(FusionBlock(COND, 6)), maps()[0], randn(4, COND)
    first, second = block.affines
    inner = F.leaky_relu(first(x, s), 0.2)
    assert_close(block(x, s), F.leaky_relu(second(inner, s), 0.2), rtol=0, atol=0)
    assert first.heads.gamma is not second.heads.gamma


def test_f2_a_rat_block_takes_four_steps_of_the_one_cell():
    block = awake(BridgeBlock(6, 2))
    module = awake(RecurrentAffine(COND, NOISE, HIDDEN, (2, 2, 6, 6)))
    x, s, z = maps()[0], randn(4, COND), randn(4, NOISE, seed=1)
    states = [module.start(z)]

    def modulate(x: Tensor) -> Tensor:
        x, state = module.step(len(states) - 1, x, s, states[-1])
        states.append(state)
        return x

    found = block(x, modulate)
    state, residual = module.start(z), x
    for k, convolve in ((0, block.conv1), (2, block.conv2)):
        residual = convolve(residual)
        for step in (k, k + 1):
            gamma, beta, state = module.modulation(step, s, state)
            residual = F.leaky_relu(gamma[..., None, None] * residual + beta[..., None, None], 0.2)
    assert_close(found, x + residual, rtol=0, atol=0)
    assert len(states) == 5 and len(module.cells) == 1


@pytest.mark.parametrize("variant", ["default", "no-attention"])
def test_shuffle_attention_has_no_way_into_the_state(variant):
    """RATLIP Q7's ground: h_t is a function of sentence and noise alone, whatever happens to the feature maps."""
    built = one_stage("ratlip", variant)
    attends = any(isinstance(layer, ShuffleAttention) for layer in built.generator.modules())
    assert attends == (variant == "default")
    draws = randn(4, built.noise_size)
    out = built.generate(list(CAPTIONS), draws)
    states = states_of(built.generator.bridge.affine, out.text.sentence, draws)
    assert_close(out.extras["states"], states)
    assert (states[:, 1:] != states[:, :-1]).all()


# ---------------------------------------------------------------- sizes and wrong sizes


def test_without_a_cell_it_is_cat_on_sentence_and_noise():
    module, s, z, xs = rat(hidden=0), randn(4, COND), randn(4, NOISE, seed=1), maps()
    assert not hasattr(module, "cells")
    for k, out in enumerate(through(module, xs, s, z)):
        cat = Affine(COND + NOISE, FEATURES[k]).double()
        cat.heads.load_state_dict(module.heads[k].state_dict())
        assert_close(out, cat(xs[k], torch.cat([s, z], 1)), rtol=0, atol=0)


def test_a_shared_cell_costs_once_what_a_cell_an_affine_costs_each_time():
    cell = 4 * HIDDEN * (COND + HIDDEN + 2)
    start = 2 * (NOISE * HIDDEN + HIDDEN)
    heads = sum(2 * (HIDDEN * c + c + c * c + c) for c in FEATURES)
    assert count(rat()) == cell + start + heads
    assert count(rat(lstm="per-affine")) == 3 * cell + start + heads


def test_a_cell_an_affine_is_used_at_its_own_step_and_the_state_still_passes():
    module, s, z = rat(lstm="per-affine"), randn(2, COND), randn(2, NOISE, seed=1)
    state = module.start(z)
    for k in range(len(FEATURES)):
        expected = module.cells[k](s, tuple(state))
        _, _, state = module.modulation(k, s, state)
        assert_close(tuple(state), expected, rtol=0, atol=0)


@pytest.mark.parametrize("hidden", [4, 8, 16, 32, 128])
def test_table_ii_counts_a_cell_an_affine(hidden):
    """RATLIP's Table II, in units of 2^20 parameters: what another number of units adds, from 64 units."""
    table = {4: 132.09, 8: 132.27, 16: 132.57, 32: 133.25, 64: 134.68, 128: 137.93}
    bridge = 4 * (64, 64, 32, 32)  # 16 affines: the bridge's four blocks of two RATBLK

    def counted(h: int) -> float:
        return count(PublishedRecurrentAffine(512, 100, h, bridge)) / 2**20

    assert abs(counted(hidden) - counted(64) - (table[hidden] - table[64])) < 0.02
    shared = [count(RecurrentAffine(512, 100, h, bridge)) / 2**20 for h in (hidden, 64)]
    assert abs(shared[0] - shared[1]) < 0.2 * abs(table[hidden] - table[64])  # one shared cell does not explain it


@pytest.mark.parametrize("hidden", [-1, -64])
def test_a_negative_number_of_units_is_refused(hidden):
    with pytest.raises(UserError, match="choose 0"):
        RecurrentAffine(COND, NOISE, hidden, FEATURES)


def test_an_unknown_lstm_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'per-affine'"):
        RecurrentAffine(COND, NOISE, HIDDEN, FEATURES, "per-afine")


def test_the_published_affine_needs_a_cell():
    with pytest.raises(UserError, match="choose 1 or more"):
        PublishedRecurrentAffine(COND, NOISE, 0, FEATURES)


# ---------------------------------------------------------------- every sample by itself


def modules() -> dict:
    """Name -> a function of x, s and z that gives one tensor, batch first."""
    shared, several, none = rat(), rat(lstm="per-affine"), rat(hidden=0)
    cat, attention = awake(Affine(COND, 6)), awake(ShuffleAttention(8, groups=2))
    deep = {"rat": shared, "rat per affine": several, "rat without a cell": none}
    found = {
        name: lambda xs, s, z, module=module: torch.cat([x.flatten(1) for x in through(module, xs, s, z)], 1)
        for name, module in deep.items()
    }
    found["cat"] = lambda xs, s, z: cat(xs[0], s)
    found["shuffle attention"] = lambda xs, s, z: attention(torch.cat([xs[0], xs[2]], 1))
    return found


@pytest.mark.parametrize("name", modules())
def test_alone_in_a_batch_and_in_another_order_it_is_the_same(name):
    run, xs, s, z = modules()[name], maps(), randn(4, COND), randn(4, NOISE, seed=1)
    together = run(xs, s, z)
    for rows in (*torch.arange(4).split(1), torch.tensor([2, 0, 3, 1]), torch.tensor([1, 1, 3])):
        assert_close(run([x[rows] for x in xs], s[rows], z[rows]), together[rows], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", modules())
def test_no_gradient_comes_from_another_sample(name):
    leaves = [t.requires_grad_() for t in (*maps(), randn(4, COND), randn(4, NOISE, seed=1))]
    out = modules()[name](leaves[:3], *leaves[3:])
    for sample in range(4):
        for slope in torch.autograd.grad(out[sample].sum(), leaves, retain_graph=True, allow_unused=True):
            if slope is not None:
                others = [other for other in range(4) if other != sample]
                assert (slope[others] == 0).all()


# ---------------------------------------------------------------- the published affine leaks


def published() -> PublishedRecurrentAffine:
    return awake(PublishedRecurrentAffine(COND, NOISE, HIDDEN, FEATURES))


def test_the_published_affine_says_one_gamma_for_the_whole_batch():
    module, s, z = published(), randn(4, COND), randn(4, NOISE, seed=1)
    for k, channels in enumerate(FEATURES):
        gamma, beta, _ = module.modulation(k, s, module.start(z))
        assert gamma.shape == beta.shape == (1, channels)
        last = module.lstms[k](torch.cat([z, s], 1)[None])[0][0, -1]  # the state after the last sample
        assert_close(gamma[0], module.heads[k].gamma(last))


def test_the_published_affine_leaks():
    module, xs, s, z = published(), maps(), randn(4, COND), randn(4, NOISE, seed=1)
    together = through(module, xs, s, z)[0]

    order = torch.tensor([3, 2, 1, 0])
    permuted = through(module, [x[order] for x in xs], s[order], z[order])[0]
    assert not torch.allclose(permuted, together[order], atol=1e-3)

    alone = through(module, [x[:1] for x in xs], s[:1], z[:1])[0]
    assert not torch.allclose(alone, together[:1], atol=1e-3)

    other = s.clone()
    other[2] = randn(COND, seed=7)
    changed = through(module, xs, other, z)[0]
    assert ((changed - together).flatten(1).norm(dim=1) > 1e-3).all()  # caption 2 of 0..3: every image moves


def test_every_sample_of_the_published_affine_hears_every_caption():
    module, xs, s, z = published(), maps(), randn(4, COND).requires_grad_(), randn(4, NOISE, seed=1)
    out = through(module, xs, s, z)[0]
    slopes = [torch.autograd.grad(row.square().sum(), s, retain_graph=True)[0].norm(dim=1) for row in out]
    assert (torch.stack(slopes) > 0).all()


def test_the_published_affine_passes_nothing_from_affine_to_affine():
    module, s, z = published(), randn(4, COND), randn(4, NOISE, seed=1)
    state = module.start(z)
    for k in range(len(FEATURES)):
        _, _, after = module.modulation(k, s, state)
        assert after is state and after.c is None


# ---------------------------------------------------------------- shuffle attention


@pytest.mark.parametrize(("channels", "groups", "parameters"), [(64, 8, 24), (8, 2, 12), (4, 1, 12), (16, 8, 6)])
def test_shuffle_attention_keeps_the_shape_and_has_three_channels_over_groups_parameters(channels, groups, parameters):
    module = ShuffleAttention(channels, groups).double()
    x = randn(2, channels, 3, 5)
    assert module(x).shape == x.shape
    assert count(module) == parameters == 3 * channels // groups


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_shuffle_attention_starts_as_sigma_of_1_times_a_shuffle(groups):
    x = randn(2, 8, 3, 3)
    out = ShuffleAttention(8, groups).double()(x)
    order = [0, 4, 1, 5, 2, 6, 3, 7]  # the halves 0-3 and 4-7, interleaved
    assert_close(out, x[:, order] / (1 + math.exp(-1)))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_shuffle_attention_by_hand(groups):
    module = awake(ShuffleAttention(8, groups))
    x = randn(2, 8, 3, 3)
    expected = torch.empty_like(x)
    for sample in range(2):
        for channel in range(8):
            within = channel % (8 // groups)  # its place in its group
            branch, own = divmod(within, 4 // groups)
            values = x[sample, channel]
            if branch == 0:
                gate = module.channel_weight[0, own] * values.mean() + module.channel_bias[0, own]
            else:
                deviation = (values.var(unbiased=False) + module.norm.eps).sqrt()
                normed = module.norm.weight[own] * (values - values.mean()) / deviation + module.norm.bias[own]
                gate = module.place_weight[0, own] * normed + module.place_bias[0, own]
            half, place = divmod(channel, 4)  # the channel shuffle is between two halves, however many groups there are
            expected[sample, 2 * place + half] = values * torch.sigmoid(gate)
    assert_close(module(x), expected)


@pytest.mark.parametrize(("channels", "groups"), [(8, 3), (12, 8), (7, 1), (8, 0), (8, -2)])
def test_shuffle_attention_refuses_groups_that_do_not_fit(channels, groups):
    with pytest.raises(UserError, match="choose other groups"):
        ShuffleAttention(channels, groups)
