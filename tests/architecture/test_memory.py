"""The memory of a table, against what torch keeps, what is alive in it, its optimizers and torchinfo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchinfo
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.memory import MemoryRecord, estimate_memory
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.model import Model
from cnnlab.config.optimizers import AdamConfig, AdamWConfig, SGDConfig
from cnnlab.config.recipe import Recipe
from cnnlab.errors import SpecError
from cnnlab.models.build import build
from cnnlab.models.network_plan import plan_network
from cnnlab.training.optimizers.factory import build_optimizer

ROOT = Path(__file__).parents[2]
BATCH = 3
WINDOWS = [
    "conv(4, 3)", "conv(2, 3, padding=1, bias=false)", "conv(4, 3, padding=1, stride=2)", "depthwise(3, padding=1)",
    "maxpool(2)", "maxpool(3, 1, 1)", "avgpool(2)", "adaptivepool(2)",
    "upsample(2)", "upsample(2, 'bilinear')", "lrn(3)", "dropout2d(0.3)", "dropout2d(0.0)",
    "residual([conv(3, 3, padding=1), batchnorm, relu], shortcut=[conv(3, 1)])", "residual([relu])", "residual([])",
    "residual([batchnorm, elu], shortcut=[dropout(0.1)])", "repeat(2, [conv(3, 3, padding=1), relu])",
]  # fmt: skip
ANYWHERE = [
    "batchnorm", "batchnorm(affine=false)", "layernorm", "layernorm(affine=false)", "groupnorm(1)", "relu",
    "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softmax", "dropout(0.2)", "dropout(0.0)", "flatten",
]  # fmt: skip
VECTORS = ["dense(5)", "dense(3, bias=false)", "dense(2)", "residual([dense(2), relu], [dense(2)])"]
ENDS = ["flatten", "globalpool", "globalpool('max')"]
TABLES = st.tuples(
    st.lists(st.sampled_from([*WINDOWS, *ANYWHERE[:-1]]), max_size=6),
    st.sampled_from(ENDS),
    st.lists(st.sampled_from([*VECTORS, *ANYWHERE]), max_size=4),
).map(lambda parts: [*parts[0], parts[1], *parts[2]])


def traced(rows: list[str], shape: tuple[int, int, int] = (3, 9, 8)) -> Trace:
    try:
        return trace(read_table(rows, {}, 10), shape)
    except SpecError:  # a window that no longer fits, a norm of one number
        assume(False)
        raise


def counted(found: Trace, state: int = 2, batch_size: int = BATCH) -> MemoryRecord:
    return estimate_memory(found.records(), found.parameters, batch_size, state)


def images(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(BATCH, *shape, generator=torch.Generator().manual_seed(0))


def own_storages(network: nn.Module) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in [*network.parameters(), *network.buffers()]}


def kept_by_torch(network: nn.Module, batch: Tensor) -> int:
    """Bytes of the storages that autograd keeps in a forward pass, without the network's own."""
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network.train()(batch)  # alive until it is counted: no address is used twice
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in saved}
    assert outputs is not None
    return sum(size for place, size in storages.items() if place not in own_storages(network))


@given(TABLES)
def test_activations_are_what_autograd_keeps(rows: list[str]) -> None:
    found = traced(rows)
    with torch.random.fork_rng(devices=()):
        truth = kept_by_torch(build(found), images(found.input))
    assert counted(found).activations == truth
    assert sum(counted(found).layers.values()) == truth
    assert list(counted(found).layers) == [record.name for record in found.records()]


@pytest.mark.parametrize("row", [*WINDOWS, *ANYWHERE, *ENDS])
@pytest.mark.parametrize("behind", [["conv(3, 3, bias=false)"], []], ids=["learning", "images"])
def test_every_kind_of_row_keeps_what_autograd_keeps(row: str, behind: list[str]) -> None:
    """Behind a row that learns, and as the first: there it keeps nothing unless it learns itself."""
    after = [] if row in ENDS else ["flatten"]
    found = traced([*behind, row, *after, "dense(4)"])
    with torch.random.fork_rng(devices=()):
        assert counted(found).activations == kept_by_torch(build(found), images(found.input))


@pytest.mark.parametrize("name", ["lenet", pytest.param("convnet-batchnorm", marks=pytest.mark.full)])
def test_activations_of_the_recipes_are_what_autograd_keeps(name: str) -> None:
    recipe = Recipe.read(ROOT / "recipes" / f"{name}.toml")
    found = recipe.model.trace((3, 32, 32), 10)
    assert counted(found).activations == kept_by_torch(build(found), images((3, 32, 32)))


class Alive(TorchDispatchMode):
    """The most bytes that were alive at once, without the storages that are given."""

    def __init__(self, batch: Tensor, without: set[int]) -> None:
        super().__init__()
        self.without, self.sizes, self.most = without, {}, 0
        self.see(batch)

    def see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.without:
            self.sizes[StorageWeakRef(storage)] = storage.nbytes()
        self.sizes = {storage: size for storage, size in self.sizes.items() if not storage.expired()}
        self.most = max(self.most, sum(self.sizes.values()))

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.see(tensor)
        return made


@given(TABLES)
def test_prediction_holds_at_least_what_one_row_reads_and_writes(rows: list[str]) -> None:
    """Torch holds the batch beside it, padding, and the inputs of paths side by side."""
    found = traced([row for row in rows if row not in ("dropout2d(0.0)", "dropout(0.0)")])
    network, batch = build(found).eval(), images(found.input)
    with torch.no_grad(), Alive(batch, own_storages(network)) as alive:
        network(batch)
    assert counted(found).prediction - counted(found).weights <= alive.most


@pytest.mark.parametrize(
    ("rows", "numbers"),
    [
        (["conv(3, 1)", "residual([relu])", "flatten"], 3 * 216),  # the sum reads two maps and writes one
        (["dropout2d(0.5)", "flatten"], 216),  # dropout is off, and flatten is a view
        (["dropout(0.5)", "flatten"], 216),
        (["relu", "flatten"], 2 * 216),
        (["maxpool(1)", "flatten"], 4 * 216),  # the positions take 8 bytes each
    ],
)
def test_prediction_is_what_one_row_reads_and_writes(rows: list[str], numbers: int) -> None:
    memory = counted(traced(rows))
    assert memory.prediction - memory.weights == 4 * BATCH * numbers


@pytest.mark.parametrize("name", ["lenet", "model2", "residual"])
def test_prediction_and_a_step_of_the_recipes_hold_about_what_torch_holds(name: str) -> None:
    """Beside the sum a step holds gradients of activations."""
    found = Recipe.read(ROOT / "recipes" / f"{name}.toml").model.trace((3, 32, 32), 10)
    network, batch, claimed = build(found), images(found.input), counted(found)
    with torch.no_grad(), Alive(batch, own_storages(network)) as predicting:
        network.eval()(batch)
    assert 0.6 * predicting.most <= claimed.prediction - claimed.weights <= predicting.most
    with torch.random.fork_rng(devices=()), Alive(batch, own_storages(network)) as training:
        network.train()(batch).sum().backward()
    assert 0.8 * training.most <= claimed.gradients + claimed.activations <= 1.15 * training.most


@pytest.mark.parametrize(
    "choice",
    [SGDConfig(0.1), SGDConfig(0.1, momentum=0.9), AdamConfig(), AdamWConfig()],
    ids=["sgd", "momentum", "adam", "adamw"],
)
def test_the_optimizers_state_is_torchs(choice: Any) -> None:
    found = traced(["conv(4, 3)", "batchnorm", "relu", "flatten", "dense(10)"])
    network = build(found)
    made = build_optimizer(choice, network)
    network(images(found.input)).sum().backward()
    made.step()
    numbers = [tensor for state in made.state.values() for tensor in state.values() if isinstance(tensor, Tensor)]
    truth = sum(tensor.numel() * tensor.element_size() for tensor in numbers if tensor.dim())  # without step counters
    assert counted(found, choice.state_per_parameter).optimizer == truth
    gradients = [parameter.grad for parameter in network.parameters()]
    assert counted(found).gradients == sum(gradient.numel() * 4 for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", ["lenet", "faces", pytest.param("convnet-batchnorm", marks=pytest.mark.full)])
def test_weights_and_outputs_are_torchinfos(name: str) -> None:
    recipe = Recipe.read(ROOT / "recipes" / f"{name}.toml")
    found = recipe.model.trace((recipe.data.channels or 3, 56, 46), 10)
    with torch.random.fork_rng(devices=()):
        summary = torchinfo.summary(build(found), (BATCH, *found.input), verbose=0)
    records = found.records()
    assert counted(found).weights == summary.total_param_bytes
    assert {info.var_name: tuple(info.output_size[1:]) for info in summary.summary_list if info.is_leaf_layer} == {
        record.name: record.output for record in records
    }
    # torchinfo counts each output once, ours and the loss's identity alike.
    assert 4 * BATCH * sum(record.activations for record in records) == sum(
        info.output_bytes for info in summary.summary_list if info.is_leaf_layer
    )


def test_frozen_parameters_have_neither_gradients_nor_state() -> None:
    found = traced(["conv(4, 3)", "flatten", "dense(10)"])
    taken = estimate_memory(found.records(), found.parameters, BATCH, 2, trainable=100)
    assert (taken.gradients, taken.optimizer, taken.weights) == (400, 800, 4 * found.parameters)


BACKBONES = [
    ("resnet18", "", "rows(['layer2'])"),
    ("resnet18", "", "none"),
    *(
        pytest.param(*row, marks=pytest.mark.full)
        for row in [
            ("resnet18", "", "all"),
            ("vgg11_bn", "features", "rows(['features.4', 'features.5'])"),
            ("mobilenet_v3_small", "", "rows(['features.4'])"),
            ("vgg11", "", "last_convs(2)"),  # its dense layers are frozen behind what trains
            ("alexnet", "features.9", "none"),
        ]
    ),
]


@pytest.mark.full
@pytest.mark.parametrize(("name", "cut", "trainable"), BACKBONES)
def test_a_frozen_part_keeps_what_autograd_keeps(name: str, cut: str, trainable: str) -> None:
    model = Model(backbone=f"{name}(weights='none')", cut=cut, trainable=trainable, resize="own")
    plan = plan_network(model, (3, 64, 64), 10)
    network = plan.build(0, "cpu")
    with torch.random.fork_rng(devices=()):
        found = estimate_memory(plan.layers, plan.parameters, BATCH, 2, plan.trainable)
        assert found.activations == kept_by_torch(network, images((3, 64, 64)))
    grown = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert (found.gradients, found.optimizer) == (4 * grown, 8 * grown)
    assert sum(row.parameters for row in plan.layers if not row.frozen) == grown
