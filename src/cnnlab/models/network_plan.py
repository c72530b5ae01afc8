"""A recipe's network: planned on meta tensors, built, and filled with its initial weights.

table → rows → network          backbone → its size → its cut → features → head → rows → network
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from cnnlab.architecture.layer import Shape
from cnnlab.architecture.layer_table import name_prefixes
from cnnlab.architecture.trace import Trace
from cnnlab.config.backbones import unfreeze_epochs
from cnnlab.config.model import Model
from cnnlab.context import LogFn
from cnnlab.errors import RunError, SpecError
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.pretrained.loading import load_state_dict_report, report_lines
from cnnlab.models.pretrained.source import (
    BackboneSource,
    NetworkFactory,
    backbone_records,
    find_backbone_source,
    require_channels,
)
from cnnlab.models.pretrained.tensor_files import abbreviate
from cnnlab.models.pretrained.transfer import Resize, TransferModel, row_of_module, stateful_modules
from cnnlab.models.pretrained.truncate import CutPoint, find_classifier_layer, find_cut_point, make_stem_small, prune
from cnnlab.models.tracing.trace import ExecutionTrace, trace_execution, trace_network
from cnnlab.models.train_mode import set_epoch, unfreeze_epoch
from cnnlab.records import LayerRecord, WeightLoadReport
from cnnlab.render.formatting import format_shape
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder
from cnnlab.torch_rng import fork_rng, manual_seed_torch

# Tracing a large network takes seconds, and a study plans the same one for each run.
MAX_CACHED_PLANS = 16


@dataclass(frozen=True)
class NetworkPlan:
    """A recipe's network before it is built.

    Attributes:
        input: (C, H, W) of the images.
        layers: its rows, with what is frozen; a row with weights has the name of its module.
        parameters: the number of parameters, frozen ones too.
        trainable: the number of those that train in some epoch.
        build: makes the network with random weights, from a seed.
        load_weights: loads the backbone's initial weights into a network; None where all begin at random.
    """

    input: Shape
    layers: tuple[LayerRecord, ...]
    parameters: int
    trainable: int
    build: NetworkFactory
    load_weights: Callable[[nn.Module, LogFn], WeightLoadReport] | None = None

    def initialize(self, seed: int, log: LogFn) -> tuple[nn.Module, WeightLoadReport | None]:
        """The network as its training begins, with pretrained weights where the recipe names them.

        Raises:
            CnnlabError: the weights can't be loaded, or are not of this network.
        """
        network = self.build(seed, "cpu")
        return network, self.load_weights(network, log) if self.load_weights is not None else None


def plan_network(model: Model, shape: Shape, classes: int, saved_backbone: Path | None = None) -> NetworkPlan:
    """Plan the network of a recipe; nothing is computed, and no weights are read.

    Args:
        shape: (C, H, W) of the images.
        classes: K.
        saved_backbone: for a run's network, the records that it copied from the run that its backbone is from.

    Raises:
        SpecError: layers that don't fit together, an unknown name, or images of other channels than the
            backbone's; `where` begins with `model` or `data`.
        RunError: the run that the backbone is from can't be read.
    """
    if model.backbone is not None:
        return _cached_plan(model, shape, classes, saved_backbone)
    trace = model.trace(shape, classes)

    def make(seed: int, device: str) -> nn.Module:
        return _build_trace(trace, model, seed, device)

    return NetworkPlan(shape, tuple(trace.records()), trace.parameters, trace.parameters, make)


def plan_run_network(folder: RunFolder) -> NetworkPlan:
    """The network of a run; errors as `plan_network`."""
    data = folder.data()
    preprocessing = data.preprocessing
    shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
    return plan_network(folder.recipe().model, shape, len(data.classes), folder.path / BACKBONE_FOLDER)


_plan_cache: dict[str, NetworkPlan] = {}


def _cached_plan(model: Model, shape: Shape, classes: int, saved_backbone: Path | None) -> NetworkPlan:
    """The plan of a backbone; cached by the model, the images and, for a run, its records."""
    assert model.backbone is not None
    key = repr((model, tuple(shape), classes, backbone_records(model.backbone, saved_backbone)))
    if key not in _plan_cache:
        source = find_backbone_source(model.backbone, lambda folder: plan_run_network(folder).build, saved_backbone)
        plan = _plan_transfer(model, shape, classes, source)
        if len(_plan_cache) >= MAX_CACHED_PLANS:
            _plan_cache.clear()
        _plan_cache[key] = plan
    return _plan_cache[key]


def _plan_transfer(model: Model, shape: Shape, classes: int, source: BackboneSource) -> NetworkPlan:
    """Find on meta tensors how a backbone and a head are put together; `build` repeats it for each network."""
    require_channels(shape[0], source.pretrained_config)
    image_shape = _backbone_input(model, shape, source)
    whole = source.build(0, "meta")
    stem = trace_execution(whole, image_shape).executed_modules if source.small_stem else ()
    reinitialized = (make_stem_small(whole, stem),) if source.small_stem else ()
    full_shapes = {name: tuple(tensor.shape) for name, tensor in whole.state_dict().items()}
    cut_point = _find_cut_point(model, source, whole, image_shape)
    used = _trace_to_cut(whole, cut_point, image_shape)
    if model.head[:1] != ("flatten",):
        _require_channels_first(used.output_shape, image_shape, cut_point)
    head_trace = model.trace_head(used.output_shape, classes)

    def build_untrained(seed: int, device: str) -> TransferModel:
        backbone = _full_backbone(source, stem, seed, device)
        prune(backbone, used.executed_modules, used.used_tensors)
        head = _build_trace(head_trace, model, seed, device)
        network = TransferModel(_resize(model, shape, image_shape[1:]), backbone, cut_point, head)
        if source.load_pretrained is None and model.init != "default" and device != "meta":
            init_weights(network, model.init, seed)  # the default is the library's own
        return network.eval()

    network = build_untrained(0, "meta")
    execution = trace_execution(network, _as_image_shape(shape))
    rows, order = execution.rows, execution.executed_modules
    unfreeze_at = _unfreeze_epochs(model, network, rows, reinitialized)
    network.set_unfreeze_schedule(unfreeze_at, order)
    stateful = stateful_modules(network)
    layers = tuple(row.model_copy(update=_training_flags(row, stateful, unfreeze_at)) for row in rows)
    parameters = {name: parameter.numel() for name, parameter in network.named_parameters()}
    trainable = [name for name in parameters if unfreeze_epoch(network, name.rpartition(".")[0]) is not None]

    def make(seed: int, device: str) -> nn.Module:
        made = build_untrained(seed, device)
        made.set_unfreeze_schedule(unfreeze_at, order)
        set_epoch(made, 0)
        return made

    def load(network: nn.Module, log: LogFn) -> WeightLoadReport:
        assert isinstance(network, TransferModel)
        assert source.load_pretrained is not None
        weights = source.load_pretrained(log)
        report = load_state_dict_report(network.backbone, weights, full_shapes, reinitialized)
        _require_frozen(report, unfreeze_at)
        for line in (*(f"! {warning}" for warning in weights.warnings), *report_lines(report)):
            log(line)
        return report

    return NetworkPlan(
        shape,
        layers,
        sum(parameters.values()),
        sum(parameters[name] for name in trainable),
        make,
        None if source.load_pretrained is None else load,
    )


def _backbone_input(model: Model, shape: Shape, source: BackboneSource) -> tuple[int, int, int]:
    """(C, H, W) of the images that the backbone takes."""
    if model.resize == "own" or (model.resize is None and source.small_stem):
        return _as_image_shape(shape)
    size = model.resize if isinstance(model.resize, tuple) else source.pretrained_config.shape[1:]
    return _as_image_shape((shape[0], *size))


def _find_cut_point(
    model: Model, source: BackboneSource, backbone: nn.Module, image_shape: tuple[int, int, int]
) -> CutPoint:
    if model.features:
        return find_cut_point(backbone, model.features, lambda: trace_network(backbone, image_shape))
    if source.ends_with_features:
        return CutPoint()
    return CutPoint(
        find_classifier_layer(trace_network(backbone, image_shape), dict(backbone.named_modules())), before=True
    )


def _trace_to_cut(backbone: nn.Module, cut_point: CutPoint, image_shape: tuple[int, int, int]) -> ExecutionTrace:
    """Trace a backbone up to its cut; the names are the backbone's own."""
    trace = trace_execution(TransferModel(None, backbone, cut_point, nn.Identity()), image_shape)
    within = [name.removeprefix("backbone.") for name in trace.executed_modules if name.startswith("backbone.")]
    if cut_point.before:  # it does not run; the modules that contain it stay
        within = [*(name for name in within if name != cut_point.module), cut_point.module.rpartition(".")[0]]
    elif cut_point.module and cut_point.module not in within:
        step = "cut after a layer in the table of 'cnnlab describe', without a cut"
        raise SpecError("this layer does not run", where="model.cut", received=cut_point.module, next_step=step)
    used = frozenset(name.removeprefix("backbone.") for name in trace.used_tensors)
    return replace(trace, executed_modules=tuple(within), used_tensors=used)


def _require_channels_first(features: Shape, image: Shape, cut_point: CutPoint) -> None:
    """Refuse maps whose channels come last, as in some transformers: a head would take them for rows."""
    if len(features) == 3 and image[1] == image[2] and features[0] == features[1] != features[2]:
        raise SpecError(
            f"the features are {format_shape(features)} maps with the channels last, and a head needs them first",
            where="model.cut",
            received=cut_point.module or "the backbone's end",
            next_step='cut after a later layer that moves them to the front, or begin the head with "flatten"',
        )


def _full_backbone(source: BackboneSource, stem: Sequence[str], seed: int, device: str) -> nn.Module:
    network = source.build(seed, device)
    if stem:
        with fork_rng():
            manual_seed_torch(seed, "stem")
            make_stem_small(network, stem)
    return network


def _build_trace(trace: Trace, model: Model, seed: int, device: str) -> nn.Module:
    with torch.device(device):
        network = build(trace)
    if device != "meta":
        init_weights(network, model.init, seed)
    return network


def _resize(model: Model, shape: Shape, size: Shape) -> Resize | None:
    if shape[1:] == size:
        return None
    return Resize((size[0], size[1]), model.interpolation or "bilinear")


def _unfreeze_epochs(
    model: Model, network: TransferModel, rows: Sequence[LayerRecord], reinitialized: Sequence[str]
) -> dict[str, int]:
    """The epoch from which on each module trains; modules with new weights train from the start."""
    named = stateful_modules(network.backbone)
    convs = [row.name.removeprefix("backbone.") for row in rows if row.kind in ("conv", "depthwise")]
    epochs = unfreeze_epochs(model.trainable, named, [name for name in convs if name in named])
    found = {f"backbone.{name}".rstrip("."): epoch for name, epoch in epochs.items()}
    found |= {f"backbone.{name}": 0 for name in reinitialized}
    return found | {f"head.{name}": 0 for name in stateful_modules(network.head)}


def _require_frozen(report: WeightLoadReport, unfreeze_at: dict[str, int]) -> None:
    """Refuse weights that lack tensors of frozen modules, which would stay random."""
    missing = [
        name for name in report.missing if row_of_module(f"backbone.{name}".rpartition(".")[0]) not in unfreeze_at
    ]
    if missing:
        raise RunError(
            f"{len(missing)} tensors of the frozen part are missing, and would stay random",
            where=report.file,
            received=abbreviate(missing),
            next_step="use weights that have them, or let these layers train: model.trainable",
        )


def _training_flags(row: LayerRecord, modules: Sequence[str], unfreeze_at: dict[str, int]) -> dict[str, bool | int]:
    """Whether and when a row trains, by the module that holds its weights."""
    holder = next((name for name in reversed(name_prefixes(row.name)) if name in modules), "")
    epoch = unfreeze_at.get(holder)
    return {"frozen": bool(row.parameters) and epoch is None, "unfreeze_at": epoch or 0 if row.parameters else 0}


def _as_image_shape(shape: Shape) -> tuple[int, int, int]:
    return (shape[0], shape[1], shape[2])
