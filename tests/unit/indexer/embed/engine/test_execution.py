import pytest

from xcomp_indexer.embed.engine import execution
from xcomp_indexer.embed.engine.execution import Execution, choose_engine, require_openvino
from xcomp_protos.errors import ModelError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> "Machine":
    return Machine(monkeypatch)


class Machine:
    """What the choice sees of this machine: torch and AVX2, no GPU, until a test says otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.has(cuda=False, avx2=True, torch=True)

    def has(self, *, cuda: bool, avx2: bool, torch: bool) -> None:
        self._patch.setattr(execution, "has_cuda", lambda: cuda)
        self._patch.setattr(execution, "has_avx2", lambda: avx2)
        self._patch.setattr(execution, "find_spec", lambda _: object() if torch else None)


def test_a_processor_runs_openvino_where_there_is_a_graph_and_torch_elsewhere(machine: Machine) -> None:
    assert choose_engine("m", Execution(), has_graph=True) == "openvino"
    assert choose_engine("m", Execution(), has_graph=False) == "torch"


def test_a_gpu_runs_torch_unless_the_user_asks_for_openvino(machine: Machine) -> None:
    machine.has(cuda=True, avx2=True, torch=True)
    assert choose_engine("m", Execution(), has_graph=True) == "torch"
    assert choose_engine("m", Execution("openvino"), has_graph=True) == "openvino"


def test_without_avx2_torch_runs_what_it_can(machine: Machine) -> None:
    machine.has(cuda=False, avx2=False, torch=True)
    assert choose_engine("m", Execution(), has_graph=True) == "torch"
    with pytest.raises(ModelError, match="needs a processor with AVX2"):
        require_openvino("lite", Execution())


def test_what_is_left_to_torch_names_the_extra_and_the_reason(machine: Machine) -> None:
    machine.has(cuda=False, avx2=True, torch=False)
    with pytest.raises(ModelError, match=r"m needs torch \(.*no graph.*\): install it with pip install 'xcomp\[gpu\]'"):
        choose_engine("m", Execution(), has_graph=False)
    with pytest.raises(ModelError, match=r"xcomp\[gpu\]"):
        choose_engine("m", Execution("torch"), has_graph=True)


def test_an_engine_that_cannot_run_a_model_is_refused_by_name(machine: Machine) -> None:
    with pytest.raises(ModelError, match=r"m cannot run on OpenVINO: .* no graph"):
        choose_engine("m", Execution("openvino"), has_graph=False)
    with pytest.raises(ModelError, match="lite runs on OpenVINO alone"):
        require_openvino("lite", Execution("torch"))
    require_openvino("lite", Execution())
