"""The report of a run: one self-contained HTML file."""

from __future__ import annotations

import shlex

from markupsafe import Markup

from cnnlab.config.arms import file_name
from cnnlab.config.losses import losses
from cnnlab.interpret.activations.figures import layer_figure
from cnnlab.interpret.activations.view import reading_notes
from cnnlab.interpret.weights.figures import main_figure
from cnnlab.interpret.weights.view import headline as weights_headline
from cnnlab.interpret.weights.view import initial_weights_note
from cnnlab.records import Provenance
from cnnlab.render.confusion_matrix import confusion_figure
from cnnlab.render.formatting import (
    MISSING,
    format_count,
    format_duration,
    format_epoch,
    format_fraction,
    format_loss,
    format_shape,
    pluralize,
    shorten,
)
from cnnlab.render.pages import page_templates
from cnnlab.render.plots import to_svg
from cnnlab.reports.architecture.drawing import draw_architecture
from cnnlab.reports.architecture.layer_table import layer_table
from cnnlab.reports.architecture.pretraining import loaded_weights_facts
from cnnlab.reports.claims import claims_table
from cnnlab.reports.run import captions, figures, tables
from cnnlab.reports.run.contents import RunView

Fact = tuple[str, str]
MAX_CLASSES_LISTED = 100


def render_run(view: RunView) -> str:
    """Return the page as HTML: no scripts, nothing loaded from elsewhere, light and dark."""
    title, details = captions.headline(view)
    split, score = captions.reported_split(view.result)
    return (
        page_templates("cnnlab.reports")
        .get_template("report.html.jinja")
        .render(
            view=view,
            title=title,
            details=details,
            key_figures=_key_facts(view),
            ledger=captions.ledger_text(view),
            openings=tables.ledger_table(view.openings),
            curves=_curves(view),
            points=tables.curve_table(view.epochs),
            final=tables.final_table(view.result, view.data),
            final_caption=captions.selection_note(view),
            switched_off=captions.disabled_warnings_text(view.recipe),
            layers=layer_table(view.table),
            architecture=Markup(draw_architecture(view.table, "the network").to_svg()),
            image=format_shape(_image_shape(view)),
            initial_weights=loaded_weights_facts(view.recipe, view.table, view.loaded, view.features)
            if view.recipe.model.backbone
            else [],
            weights=_weights(view),
            activations=_activations(view),
            confusion=_confusion(view),
            split=split,
            classes=tables.class_table(score),
            claims=claims_table(view.claims, of=""),
            recipe=view.recipe.to_toml(),
            data=_data_facts(view),
            environment=_environment_facts(view),
            trained_loss=str(losses.to_call(view.recipe.train.loss)),
            benchmark=sorted(view.precision_config.tried.items(), key=lambda item: -item[1]),
            command=repeat_command(view),
        )
    )


def repeat_command(view: RunView) -> str:
    """Return the command that repeats this run at the same precision, whatever a benchmark would choose."""
    recipe, config = shlex.quote(f"{view.name}/recipe.toml"), view.precision_config
    settings = f"--set train.precision={config.precision} --set train.memory_format={config.memory_format}"
    return f"cnnlab train {recipe} {settings}"


def _key_facts(view: RunView) -> list[Fact]:
    result = view.result
    split, score = captions.reported_split(result)
    return [
        (
            f"{split} accuracy" if score else "accuracy",
            format_fraction(score.accuracy) if score else MISSING,
        ),
        (f"{split} loss" if score else "loss", format_loss(score.loss) if score else MISSING),
        ("parameters", format_count(result.parameters)),
        ("multiply-adds", format_count(view.table.macs)),
        (
            "selected epoch",
            f"{format_epoch(result.selected_epoch)} of {format_epoch(result.epochs)}",
        ),
        ("training time", format_duration(result.seconds)),
        ("images per second", format_count(result.images_per_second)),
        ("status", result.status),
    ]


def _curves(view: RunView) -> list[tuple[Markup, str]]:
    """Return the two learning curves with their captions."""
    loss = captions.loss_caption(view.epochs, view.result)
    accuracy = captions.accuracy_caption(view.epochs, view.result)
    losses = figures.curve_figure(view.epochs, view.result, "loss")
    accuracies = figures.curve_figure(view.epochs, view.result, "accuracy")
    return [
        (Markup(to_svg(losses, "loss", f"Loss against epochs and training steps. {loss}")), loss),
        (Markup(to_svg(accuracies, "accuracy", f"Accuracy against epochs and training steps. {accuracy}")), accuracy),
    ]


def _weights(view: RunView) -> tuple[Markup, str] | None:
    if view.weights is None:
        return None
    captioned = main_figure(view.weights)
    caption = " ".join(filter(None, (weights_headline(view.weights), initial_weights_note(view.weights.filters))))
    return Markup(to_svg(captioned.figure, "weights", captioned.description)), caption


def _activations(view: RunView) -> tuple[str, list[tuple[Markup, str]], list[str]] | None:
    """Return the section of the example: its prediction, and each layer's maps with a caption."""
    activations = view.activations
    if activations is None or not activations.layers:
        return None
    figures = []
    for number, layer in enumerate(activations.layers):
        caption = captions.activations_caption(layer)
        figure = layer_figure(activations, layer)
        figures.append((Markup(to_svg(figure, f"activations-{number}", f"Activations. {caption}")), caption))
    return captions.example_caption(activations), figures, reading_notes(activations.layers)


def _confusion(view: RunView) -> tuple[Markup, str] | None:
    if view.confusion is None:
        return None
    caption = captions.confusion_caption(view.confusion, view.data.classes)
    figure = confusion_figure(view.confusion.counts, view.data.classes)
    return Markup(to_svg(figure, "confusion", f"Confusion matrix. {caption}")), caption


def _image_shape(view: RunView) -> tuple[int, int, int]:
    prepared = view.data.preprocessing
    return prepared.channels, prepared.height, prepared.width


def _data_facts(view: RunView) -> list[Fact]:
    data, prepared = view.data, view.data.preprocessing
    listed = [shorten(name) for name in data.classes[:MAX_CLASSES_LISTED]]
    more = len(data.classes) - len(listed)
    numbers = [", ".join(f"{number:.4f}" for number in values) for values in (prepared.mean, prepared.std)]
    resized = f"resized with {prepared.interpolation}" + (", cropped to the middle" if prepared.fit == "crop" else "")
    return [
        ("source", shorten(data.source, 200)),
        *((f"{split} images", format_count(images)) for split, images in data.splits.items()),
        ("split", data.split_hash),
        ("image", f"{format_shape(_image_shape(view))} (channels×height×width), {resized}"),
        ("normalised with", f"mean {numbers[0]}; standard deviation {numbers[1]}"),
        (f"{len(data.classes)} classes", ", ".join(listed) + (f" and {more:,} more" if more else "")),
    ]


def _environment_facts(view: RunView) -> list[Fact]:
    environment, precision_config = view.environment, view.precision_config
    return [
        *_provenance_facts(view.provenance),
        ("device", environment.device),
        ("processor", f"{environment.processor}, {pluralize(environment.threads, 'thread')}"),
        *([("processes", f"{environment.processes:,}, which share each batch")] if environment.processes > 1 else []),
        ("system", environment.platform),
        ("software", f"cnnlab {environment.cnnlab}, Python {environment.python}, PyTorch {environment.torch}"),
        ("code", environment.code),
        ("precision", precision_config.precision),
        ("memory format", precision_config.memory_format.replace("_", " ")),
        *([("chosen because", precision_config.reason)] if precision_config.reason else []),
    ]


def _provenance_facts(provenance: Provenance | None) -> list[Fact]:
    if provenance is None or not provenance.file:
        return []
    changed = ", ".join(f"{key}={value}" for key, value in provenance.overrides.items())
    facts = [("recipe", f"{shorten(file_name(provenance.file))}, {provenance.digest}")]
    return [*facts, ("set otherwise", shorten(changed, 400))] if changed else facts
