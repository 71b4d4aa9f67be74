"""Models leave the memory of a composer when they are unused."""

from xcomp_composer.model_pool.pool import EndpointConfig, ModelPool


def test_an_unused_model_leaves_memory_and_a_used_one_stays() -> None:
    pool = ModelPool(EndpointConfig())
    loaded = pool.load_chat("echo", "clip", lambda: 10.0)
    pool.free_idle(60)
    assert pool.names() == ["echo"]
    with loaded.queue.enter(lambda: 10.0):
        pool.free_idle(0)
        assert pool.names() == ["echo"]
    pool.free_idle(0)
    assert pool.names() == []
    assert pool.load_chat("echo", "clip", lambda: 10.0) is not loaded
