"""Short runs of the long proofs of load and faults, with real processes on loopback."""

import pytest

from tests.soak import composers, hostile, kills


@pytest.mark.parametrize("act", [composers.illustrate, composers.compose])
def test_32_composers_at_once_are_all_served(act: composers.Act) -> None:
    assert composers.trial(act, 40)["wrong"] == []


def test_killed_servers_lose_nothing_and_clients_reconnect() -> None:
    assert kills.processes(1)["wrong"] == []


def test_a_server_reconnects_to_a_store_that_was_away() -> None:
    assert kills.store(1)["wrong"] == []


def test_hostile_callers_do_not_harm_others() -> None:
    assert hostile.trial(20, seed=1)["wrong"] == []
