"""A recipe's network, whatever it is said by: planned without numbers, made, and filled with what it begins with.

table → rows → network          backbone → its size → its cut → features → head → rows → network
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.architecture.layer import Shape, times
from cnnlab.architecture.trace import Trace
from cnnlab.config.model import Model
from cnnlab.errors import RunError, SpecError
from cnnlab.models.build import build
from cnnlab.models.init import initialise
from cnnlab.models.pretrained.loading import fill, sentences
from cnnlab.models.pretrained.source import Say, Source, find_source, records_behind, require_channels
from cnnlab.models.pretrained.tensor_files import few
from cnnlab.models.pretrained.transfer import Resize, Transfer, owner, owners
from cnnlab.models.pretrained.truncate import Place, find_place, last_with_weights, make_stem_small, prune
from cnnlab.models.tracing.trace import Seen, see, trace_network
from cnnlab.randomness import seed_torch, torch_state
from cnnlab.records import LayerRecord, LoadedRecord
from cnnlab.storage.run_folder import KEPT, RunFolder

# Takes a seed and a device; on "meta" a network has shapes and no numbers.
Make = Callable[[int, str], nn.Module]
# Looking at a large network takes seconds, and a study asks for the same one again and again.
MOST_KEPT = 16


@dataclass(frozen=True)
class NetworkPlan:
    """A recipe's network before it is made.

    Attributes:
        input: (C, H, W) of the images.
        layers: its rows, with what is frozen; a row with weights has the name of its module.
        parameters: the learned numbers, frozen ones too.
        trainable: those that train in some epoch.
        make: the network with random weights, drawn from a seed.
        load: fills a network with the weights that its backbone begins with; None where all begin at random.
    """

    input: Shape
    layers: tuple[LayerRecord, ...]
    parameters: int
    trainable: int
    make: Make
    load: Callable[[nn.Module, Say], LoadedRecord] | None = None

    def begin(self, seed: int, say: Say) -> tuple[nn.Module, LoadedRecord | None]:
        """The network as its training begins: drawn from a seed, and filled where its weights are given.

        Raises:
            CnnlabError: the weights are not at hand, or not of this network.
        """
        network = self.make(seed, "cpu")
        return network, self.load(network, say) if self.load is not None else None


def plan_network(model: Model, shape: Shape, classes: int, kept: Path | None = None) -> NetworkPlan:
    """Plan the network of a recipe; nothing is computed, and no weights are looked for.

    Args:
        shape: (C, H, W) of the images.
        classes: K.
        kept: what a run kept of the run that its backbone is from, where this is a run's network.

    Raises:
        SpecError: layers that don't fit together, a name that nothing has, or images of other channels than the
            backbone's; `where` begins with `model` or `data`.
        RunError: the run that the backbone is from can't be read.
    """
    if model.backbone is not None:
        return _planned_once(model, shape, classes, kept)
    trace = model.trace(shape, classes)

    def make(seed: int, device: str) -> nn.Module:
        return _built(trace, model, seed, device)

    return NetworkPlan(shape, tuple(trace.records()), trace.parameters, trace.parameters, make)


def plan_of_run(folder: RunFolder) -> NetworkPlan:
    """The network of a run; errors as `plan_network`."""
    data = folder.data()
    form = data.preprocessing
    shape = (form.channels, form.height, form.width)
    return plan_network(folder.recipe().model, shape, len(data.classes), folder.path / KEPT)


@dataclass(frozen=True)
class _Parts:
    """How a backbone and a head are put together: found out once without numbers, and done again with them.

    Attributes:
        size: (H, W) in front of the backbone.
        place: where the backbone is cut.
        stem: the backbone's modules in their order, where its stem is made small; `fresh` those with new weights.
        seen: the backbone up to its cut.
    """

    model: Model
    source: Source
    shape: Shape
    size: Shape
    place: Place
    stem: tuple[str, ...]
    fresh: tuple[str, ...]
    seen: Seen
    head: Trace

    def network(self, seed: int, device: str) -> Transfer:
        backbone = _whole(self.source, self.stem, seed, device)
        prune(backbone, self.seen.entered, self.seen.used)
        head = _built(self.head, self.model, seed, device)
        network = Transfer(_resize(self.model, self.shape, self.size), backbone, self.place, head)
        if self.source.find is None and self.model.init != "default" and device != "meta":
            initialise(network, self.model.init, seed)  # the default is the library's own
        return network.eval()


_kept_plans: OrderedDict[str, NetworkPlan] = OrderedDict()


def _planned_once(model: Model, shape: Shape, classes: int, kept: Path | None) -> NetworkPlan:
    """The plan that was made of the same before; of a run's network, of the same records, wherever they lie now."""
    assert model.backbone is not None
    key = repr((model, tuple(shape), classes, records_behind(model.backbone, kept)))
    if key not in _kept_plans:
        _kept_plans[key] = _plan_transfer(model, shape, classes, find_source(model.backbone, plan_of_run, kept))
    _kept_plans.move_to_end(key)
    while len(_kept_plans) > MOST_KEPT:
        _kept_plans.popitem(last=False)
    return _kept_plans[key]


def _plan_transfer(model: Model, shape: Shape, classes: int, source: Source) -> NetworkPlan:
    require_channels(shape[0], source.natural)
    parts = _parts(model, shape, classes, source)
    network = parts.network(0, "meta")
    rows = trace_network(network, _image(shape))
    begins, order = _policy(model, network, rows, parts), see(network, _image(shape)).entered
    layers = tuple(row.model_copy(update=_training(row, owners(network), begins)) for row in rows)
    network.set_policy(begins, order)
    network.unfreeze(float("inf"))
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    whole = {name: tuple(tensor.shape) for name, tensor in _whole(source, parts.stem, 0, "meta").state_dict().items()}

    def make(seed: int, device: str) -> nn.Module:
        made = parts.network(seed, device)
        made.set_policy(begins, order)
        made.unfreeze(0)
        return made

    def load(made: nn.Module, say: Say) -> LoadedRecord:
        assert isinstance(made, Transfer)
        assert source.find is not None
        found = source.find(say)
        record = fill(made.backbone, found, whole, parts.fresh)
        _require_frozen(record, begins)
        for line in (*(f"! {warning}" for warning in found.warnings), *sentences(record)):
            say(line)
        return record

    parameters = sum(parameter.numel() for parameter in network.parameters())
    return NetworkPlan(shape, layers, parameters, trainable, make, None if source.find is None else load)


def _parts(model: Model, shape: Shape, classes: int, source: Source) -> _Parts:
    own = model.resize == "own" or (model.resize is None and source.small_stem)
    wanted = model.resize if isinstance(model.resize, tuple) else source.natural.shape[1:]
    size = shape[1:] if own else wanted
    inner = _image((shape[0], *size))
    whole = source.make(0, "meta")
    stem: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    if source.small_stem:
        stem = see(whole, inner).entered
        fresh = (make_stem_small(whole, stem),)
    place = _place(model, source, whole, inner)
    seen = see(Transfer(None, whole, place, nn.Identity()), inner)
    if place.module and not place.before and f"backbone.{place.module}" not in seen.entered:
        step = "cut behind a layer in the table of 'cnnlab describe', without a cut"
        raise SpecError("this layer does not run", where="model.cut", received=place.module, next_step=step)
    within = [name.removeprefix("backbone.") for name in seen.entered if name.startswith("backbone.")]
    if place.before:  # it is come to, and does not run; what it lies in stays, to hold the place
        within = [*(name for name in within if name != place.module), place.module.rpartition(".")[0]]
    used = frozenset(name.removeprefix("backbone.") for name in seen.used)
    if model.head[:1] != ("flatten",):
        _require_channels_first(seen.output, inner, place)
    seen = Seen(seen.output, tuple(within), used)
    return _Parts(model, source, shape, size, place, stem, fresh, seen, model.trace_head(seen.output, classes))


def _require_channels_first(features: Shape, image: Shape, place: Place) -> None:
    """Some transformers have maps whose channels come last, which a head would take for rows."""
    if len(features) == 3 and image[1] == image[2] and features[0] == features[1] != features[2]:
        raise SpecError(
            f"the features are {times(features)} numbers with the channels last, and a head wants them first",
            where="model.cut",
            received=place.module or "the backbone's end",
            next_step='cut behind a later layer, which brings them to the front, or begin the head with "flatten"',
        )


def _place(model: Model, source: Source, whole: nn.Module, inner: tuple[int, int, int]) -> Place:
    if model.features:
        return find_place(whole, model.features, lambda: trace_network(whole, inner))
    if source.ends_with_features:
        return Place()
    return Place(last_with_weights(trace_network(whole, inner), dict(whole.named_modules())), before=True)


def _whole(source: Source, stem: Sequence[str], seed: int, device: str) -> nn.Module:
    network = source.make(seed, device)
    if stem:
        with torch_state():
            seed_torch(seed, "stem")
            make_stem_small(network, stem)
    return network


def _built(trace: Trace, model: Model, seed: int, device: str) -> nn.Module:
    with torch.device(device):
        network = build(trace)
    if device != "meta":
        initialise(network, model.init, seed)
    return network


def _resize(model: Model, shape: Shape, size: Shape) -> Resize | None:
    if shape[1:] == size:
        return None
    return Resize((size[0], size[1]), model.interpolation or "bilinear")


def _policy(model: Model, network: Transfer, rows: Sequence[LayerRecord], parts: _Parts) -> dict[str, int]:
    """For each module that trains the epoch from which on it does; what begins anew trains from the start."""
    named = owners(network.backbone)
    convs = [row.name.removeprefix("backbone.") for row in rows if row.kind in ("conv", "depthwise")]
    begins = model.trainable.begins(named, [name for name in convs if name in named])
    found = {f"backbone.{name}".rstrip("."): epoch for name, epoch in begins.items()}
    found |= {f"backbone.{name}": 0 for name in parts.fresh}
    return found | {f"head.{name}": 0 for name in owners(network.head)}


def _require_frozen(record: LoadedRecord, begins: dict[str, int]) -> None:
    """Refuse weights that leave a part at random which then never trains."""
    lost = [name for name in record.missing if owner(f"backbone.{name}".rpartition(".")[0]) not in begins]
    if lost:
        raise RunError(
            f"{len(lost)} tensors of the frozen part are missing, which would stay as they are drawn",
            where=record.file,
            received=few(lost),
            next_step="use weights that have them, or let these layers train: model.trainable",
        )


def _training(row: LayerRecord, modules: Sequence[str], begins: dict[str, int]) -> dict[str, bool | int]:
    """Whether and when a row trains, by the module that holds its weights."""
    holders = [name for name in modules if row.name == name or row.name.startswith(f"{name}.")]
    begin = begins.get(max(holders, key=len, default=""))
    return {"frozen": bool(row.parameters) and begin is None, "begins": begin or 0 if row.parameters else 0}


def _image(shape: Shape) -> tuple[int, int, int]:
    return (shape[0], shape[1], shape[2])
