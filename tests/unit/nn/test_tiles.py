"""Tiles: every token asks once, windows are as promised, and the cost is linear."""

import itertools

import pytest

from stormda.nn.tiles import Tiles, cut_axis, layer_tiles


def windows(tiles: Tiles) -> dict[int, list[int]]:
    """The keys of every token."""
    found: dict[int, list[int]] = {}
    for queries, keys in tiles.batches(64):
        for asking, answering in zip(queries.tolist(), keys.tolist(), strict=True):
            for token in asking:
                assert token not in found
                found[token] = answering
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 7), (16, 24), (17, 23), (9, 31)])
@pytest.mark.parametrize("periodic", list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("dilation", [1, 3])
def test_every_token_asks_once_and_no_key_answers_twice(
    shape: tuple[int, int], periodic: tuple[bool, bool], layer: int, dilation: int
) -> None:
    tiles = layer_tiles(layer, shape, periodic, 4, 2, dilation=dilation)
    found = windows(tiles)
    assert sorted(found) == list(range(shape[0] * shape[1]))
    assert all(len(set(keys)) == len(keys) and token in keys for token, keys in found.items())
    assert tiles.pairs == sum(len(keys) for keys in found.values())


@pytest.mark.parametrize("layer", range(4))
def test_halo_keys_are_there_on_both_sides_where_the_axis_wraps(layer: int) -> None:
    for token, keys in windows(layer_tiles(layer, (1, 40), (False, True), 8, 3)).items():
        assert {(token + step) % 40 for step in range(-3, 4)} <= set(keys) and len(keys) == 14


def test_at_an_edge_windows_move_inwards() -> None:
    found = windows(layer_tiles(0, (1, 40), (False, False), 8, 3))
    assert found[0] == list(range(14)) and found[39] == list(range(26, 40)) and found[17] == list(range(13, 27))


def test_cuts_move_from_layer_to_layer() -> None:
    def borders(layer: int) -> set[int]:
        found = windows(layer_tiles(layer, (1, 64), (False, False), 8, 2))
        return {i for i in range(1, 64) if found[i] != found[i - 1]}

    assert not borders(0) & borders(1) and not (borders(0) | borders(1)) & (borders(2) | borders(3))


def test_a_dilated_layer_reaches_farther_for_the_same_cost() -> None:
    near, far = (layer_tiles(1, (1, 96), (False, True), 8, 4, dilation=d) for d in (1, 3))
    assert near.pairs == far.pairs
    assert all((keys[-1] - keys[0]) % 96 == 3 * 15 for keys in windows(far).values())


def test_beyond_a_pole_lies_the_other_side() -> None:
    h, w = 12, 32
    found = windows(layer_tiles(0, (h, w), (False, True), 4, 2, poles=(True, False)))
    north = {(token // w, token % w) for token in found[0]}  # of the tile of rows 0-3, columns 0-3
    columns = [c % w for c in range(-2, 6)]
    beyond = {(row, (c + w // 2) % w) for row in (0, 1) for c in columns}
    assert north == beyond | {(row, c) for row in range(6) for c in columns}
    south = {token // w for token in found[(h - 1) * w]}
    assert south == set(range(4, 12))  # no pole there: moved inwards
    narrow = layer_tiles(0, (h, 12), (False, True), 4, 2, poles=(True, True))
    assert narrow.pairs == layer_tiles(0, (h, 12), (False, True), 4, 2).pairs
    assert all(len(set(keys)) == len(keys) for keys in windows(narrow).values())


def test_cost_is_linear_in_the_number_of_tokens() -> None:
    pairs = [layer_tiles(1, (64 * n, 64), (False, True), 8, 4).pairs / (64 * 64 * n) for n in (1, 4, 16)]
    assert pairs == [256.0, 256.0, 256.0]  # keys of a query: 16 x 16


def test_an_axis_is_cut_into_nearly_equal_tiles() -> None:
    sizes = {run.queries_TQ.shape[1] for run in cut_axis(45, 8, 4, wraps=True)}
    assert sizes == {7, 8}
