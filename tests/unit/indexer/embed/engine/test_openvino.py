import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from xcomp_indexer.embed.engine import openvino
from xcomp_indexer.embed.engine.graph import affine
from xcomp_indexer.embed.engine.openvino import CompiledNetwork, Graph, op
from xcomp_protos.errors import ModelError

MATRIX = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)

IMPORT = """
import socket, subprocess, sys
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.posix_spawn"):
        print(event, args)
sys.addaudithook(refuse)
import xcomp_indexer.embed.engine.openvino as engine
print(engine.has_bf16() in (True, False))
"""


def multiply(*, precision: openvino.Precision = "fp32", streams: int = 1) -> CompiledNetwork:
    x = op.parameter([-1, 8], np.float32, name="x")
    return CompiledNetwork(Graph([affine(x, MATRIX, None)], [x], "multiply"), precision=precision, streams=streams)


def rows(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def test_importing_the_engine_reports_to_no_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert list(tmp_path.iterdir()) == []


def test_a_network_computes_in_fp32_even_where_the_processor_has_less() -> None:
    x = rows(4)
    np.testing.assert_allclose(multiply()(x)[0], x @ MATRIX.T, atol=1e-5)


def test_an_earlier_result_and_an_earlier_input_stay_as_they_were() -> None:
    network, first, second = multiply(), rows(3, 1), rows(3, 2)
    kept, before = network(first)[0], first.copy()
    result = kept.copy()
    network(second)
    np.testing.assert_array_equal(kept, result)
    np.testing.assert_array_equal(first, before)


def test_inputs_that_are_not_contiguous_or_not_writeable_are_taken() -> None:
    x = rows(6)
    wanted = x[::2] @ MATRIX.T
    locked = x[::2].copy()
    locked.setflags(write=False)
    for each in (x[::2], locked):
        np.testing.assert_allclose(multiply()(each)[0], wanted, atol=1e-5)


def test_threads_and_batches_of_other_sizes_get_their_own_results() -> None:
    network = multiply(streams=2)
    batches = [rows(1 + seed % 5, seed) for seed in range(60)]
    with ThreadPoolExecutor(4) as threads:
        for x, (result,) in zip(batches, threads.map(network, batches), strict=True):
            np.testing.assert_allclose(result, x @ MATRIX.T, atol=1e-5)


def test_a_wrong_input_is_an_error_of_one_line() -> None:
    with pytest.raises(ModelError, match="OpenVINO cannot run the network") as caught:
        multiply()(np.zeros((2, 9), np.float32))
    assert "\n" not in str(caught.value)


def test_a_graph_that_does_not_compile_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def compile_model(self, *_: object) -> None:
            raise RuntimeError("Exception from core.cpp:1:\nno such operation\n")

    monkeypatch.setattr(f"{openvino.__name__}.openvino.Core", Refusing)
    with pytest.raises(ModelError, match=r"OpenVINO cannot compile the network: .* no such operation$"):
        multiply()


def test_bf16_is_refused_by_name_where_the_processor_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "has_bf16", lambda: False)
    with pytest.raises(ModelError, match="--precision fp32"):
        multiply(precision="bf16")
