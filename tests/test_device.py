"""How many threads torch has while a core is left free."""

from __future__ import annotations

import torch

from napari_lungseg.device import one_core_free


def test_overlapping_contexts_leave_one_core_free_and_give_it_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        first, second = one_core_free(), one_core_free()
        with first:
            assert torch.get_num_threads() == 3
            second.__enter__()
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
        second.__exit__(None, None, None)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
