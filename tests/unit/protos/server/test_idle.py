"""What a server does on its own while it is unused."""

import threading

from xcomp_protos.server import idle


def test_unused_things_are_freed_again_and_again() -> None:
    asked: list[float] = []
    twice = threading.Event()

    def free(after_s: float) -> bool:
        asked.append(after_s)
        if len(asked) > 1:
            twice.set()
        return True

    idle.free_regularly(free, after_s=0.01)
    assert twice.wait(10)
    assert set(asked) == {0.01}
