"""A made-up run with plausible curves, LeNet on CIFAR-10, and made-up studies; and what reads a page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import cycle, islice
from math import exp, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlab.config.claims import Claim
from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import summarize
from cnnlab.interpret.activations.feature_maps import map_statistics
from cnnlab.interpret.activations.result import ActivationMaps, LayerMaps, TopPrediction
from cnnlab.interpret.weights.filters import LayerFilters
from cnnlab.interpret.weights.measures import measure_filters
from cnnlab.interpret.weights.result import LayerWeights
from cnnlab.records import (
    ClaimRecord,
    ClassScore,
    DataRecord,
    Environment,
    EpochRecord,
    LayerTable,
    LedgerEntry,
    PrecisionConfig,
    Preprocessing,
    RunResult,
    Score,
    StepMeans,
)
from cnnlab.reports.run.contents import ConfusionMatrix, RunView
from cnnlab.runs.claims import Measurements, judge_claim
from cnnlab.stats.ablation import analyze_ablation
from cnnlab.stats.comparison import DecisionRules, compare
from cnnlab.stats.sample import Sample
from cnnlab.stats.sweep import sweep_curve
from cnnlab.studies.result import ArmRecord, Confirmation, CurveRecord, SeedRecord, StudyResult

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LAYERS = [
    "first: conv(32, 5, padding=2)",
    *("relu", "maxpool(2)", "conv(64, 5, padding=2)", "relu", "maxpool(2)"),
    "residual([conv(64, 3, padding=1), batchnorm, relu])",
    *("conv(128, 5, padding=2)", "relu", "maxpool(2)", "flatten", "dense(64)", "relu", "dense(classes)"),
]
PARTS = {"train": 45_000, "validation": 5_000, "test": 10_000}


VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """The tags, attributes and texts of a page; tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.css: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open[-1:] == ["style"]:
            self.css.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def names(self) -> set[str]:
        """The names of all tags."""
        return {tag for tag, _ in self.tags}

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]

    def assert_whole(self) -> None:
        """Each id stands once, links lead somewhere, and no number is missing."""
        ids = self.values("id")
        assert len(ids) == len(set(ids))
        links = [link[1:] for link in self.values("href") if link.startswith("#")]
        assert links
        assert set(links) <= set(ids)
        assert not re.search(r"\bnan\b|\binf\b|None\b", self.text)

    def assert_alone(self) -> None:
        """Nothing is loaded, and nothing runs."""
        assert not {"script", "link", "iframe", "object", "embed", "img"} & self.names
        assert not [name for _, attributes in self.tags for name in attributes if name.startswith("on")]
        assert all(link.startswith(("#", "data:image/png")) for link in (*self.values("href"), *self.values("src")))
        css = "\n".join([*self.css, *(value or "" for _, attributes in self.tags for value in attributes.values())])
        assert self.css
        assert "@import" not in css
        assert not re.search(r"url\(['\"\s]*(?!['\"\s]|#|data:)", css)
        policy = [each for tag, each in self.tags if tag == "meta" and "http-equiv" in each]
        assert [each["content"] for each in policy] == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Reader]:
    """Reads a page."""
    return Reader


@pytest.fixture(scope="session")
def golden() -> Callable[[str, Iterable[tuple[str, Iterable[str]]]], None]:
    """Compares a document, given as sections of lines, with the one that somebody has read and found right.

    After a change of words: `CNNLAB_WRITE_GOLDEN=1 pytest tests/report`, and read the difference.
    """

    def compare(name: str, sections: Iterable[tuple[str, Iterable[str]]]) -> None:
        file = Path(__file__).parent / "golden" / f"{name}.txt"
        text = "\n\n".join("\n".join([f"## {title}", *lines]) for title, lines in sections) + "\n"
        if os.environ.get("CNNLAB_WRITE_GOLDEN"):
            file.write_text(text, encoding="utf-8")
            pytest.fail(f"{file} is written: read the difference, and run the tests without CNNLAB_WRITE_GOLDEN")
        assert text == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """Names that would be markup, code, formulas or nothing that can be shown."""
    return (
        "</script><img onerror=alert(1)>",
        "{{7*7}}",
        '"><svg onload=alert(1)>',
        "$x_{",
        "=cmd()",
        "\u202eright to left",
        "🐱",
        "x" * 4096,
        "a\x00b\x1b\ud800",
        "{% include '/etc/passwd' %}",
    )


def _score(images: int, loss: float, accuracy: float, classes: Sequence[str] = ()) -> Score:
    wiggle = [0.12 * np.sin(2.4 * index) for index in range(len(classes))]
    per_class = tuple(
        ClassScore(name=name, images=images // len(classes), recall=accuracy + shift, precision=accuracy - shift / 2)
        for name, shift in zip(classes, wiggle, strict=True)
    )
    return Score(
        images=images,
        loss=loss,
        accuracy=accuracy,
        top5=1 - (1 - accuracy) / 8,
        balanced_accuracy=accuracy,
        macro_f1=accuracy - 0.002,
        per_class=per_class,
    )


def _points(count: int, steps: float, parts: Sequence[str], broken_from: float) -> tuple[EpochRecord, ...]:
    points = []
    for number in range(1, count + 1):
        epoch = number * steps
        train = 0.35 + 1.6 * exp(-epoch / 3.2) if epoch < broken_from else float("nan")
        validation = 0.70 + 1.0 * exp(-epoch / 1.9) + 0.012 * epoch
        measured = {
            part: _score(PARTS[part], validation + shift, 0.86 - 0.16 * (validation + shift))
            for part, shift in (("validation", 0.0), ("test", 0.018))
            if part in parts and isfinite(train)
        }
        points.append(
            EpochRecord(
                epoch=epoch,
                step=int(epoch * 704),
                train=StepMeans(images=int(45_000 * steps), loss=train, accuracy=1 - 0.33 * train),
                validation=measured.get("validation"),
                test=measured.get("test"),
                learning_rate=1e-3,
                seconds=20.5 * epoch,
                images_per_second=2195.0,
            )
        )
    return tuple(points)


def _confusion(classes: int) -> ConfusionMatrix:
    generator = np.random.Generator(np.random.PCG64(7))
    counts = generator.poisson(60.0 / classes * generator.random((classes, classes)) ** 3 * 4)
    counts[np.arange(classes), np.arange(classes)] = 1000 - counts.sum(axis=1)
    return ConfusionMatrix("test", counts.astype(np.int64))


def _filters() -> LayerFilters:
    number, channels, kernel = 32, 3, 5
    generator = np.random.Generator(np.random.PCG64(3))
    before = generator.normal(0, 0.1, (number, channels, kernel, kernel))
    ramp = np.linspace(-1, 1, kernel)
    turns = generator.uniform(0, 6.3, number)
    edges = np.cos(turns)[:, None, None] * ramp[None, :, None] + np.sin(turns)[:, None, None] * ramp[None, None, :]
    tint = generator.normal(0, 1, (number, channels, 1, 1))
    return LayerFilters("first", before, before * 0.6 + 0.12 * edges[:, None] * tint)


def _weights(filters: LayerFilters) -> LayerWeights:
    numbers = tuple(range(1, len(filters.after) + 1))
    measures = measure_filters(filters)
    return LayerWeights(network="net", filters=filters, measures=measures, shown_filters=numbers, order="number")


def _activations() -> ActivationMaps:
    generator = np.random.Generator(np.random.PCG64(5))
    first = generator.normal(0, 1, (32, 32, 32)).astype(np.float32)
    last = np.maximum(generator.normal(0, 1, (128, 8, 8)), 0).astype(np.float32)
    last[[4, 90]] = 0
    pixels = generator.integers(0, 255, (3, 32, 32), dtype=np.uint8)
    return ActivationMaps(
        network="20260101-120000-lenet (trained)",
        image="validation:0, cat",
        pixels=pixels,
        label="cat",
        guesses=(TopPrediction(name="cat", probability=0.71), TopPrediction(name="dog", probability=0.2)),
        layers=(
            LayerMaps(
                name="first",
                kind="conv",
                text="conv(32, 5, padding=2)",
                shape=(32, 32, 32),
                values=first,
                shown=tuple(range(1, 17)),
                maps=map_statistics(first, pixels),
                receptive_field=((1, 5), (2, 6)),
            ),
            LayerMaps(
                name="relu3",
                kind="relu",
                text="relu",
                shape=(128, 8, 8),
                values=last,
                shown=tuple(range(1, 129, 8)),
                maps=map_statistics(last, pixels),
            ),
        ),
    )


def _claims(recipe: Recipe) -> tuple[ClaimRecord, ...]:
    assignment = "the assignment, task 1c (a later paper says 390,400: it forgot the last layer's ten biases)"

    def judged(name: str, values: Sequence[float], **fields: Any) -> ClaimRecord:
        return judge_claim(Claim(**fields), name, Measurements("cifar10", values=values, images=10_000))

    return (
        judged("parameters", [float(_trace_of(recipe).parameters)], published=390_410, source=assignment),
        judged("test_accuracy", [0.7318], published=0.7149, images=10_000, source="a report, table 1"),
        judged("validation_loss", [0.7431], published=0.8024, source="a report", note="lowest, epoch 6"),
        judged("test_loss", [0.76], published=0.91, data="other", source="another report"),
        judged("train_top5", [], published=0.99),
    )


def _trace_of(recipe: Recipe) -> Any:
    return recipe.model.trace((3, 32, 32), 10)


def _table(recipe: Recipe) -> LayerTable:
    return summarize(_trace_of(recipe).records())


@pytest.fixture(scope="session")
def make_view() -> Callable[..., RunView]:
    """Makes the view of a run; every part of it can be changed.

    Arguments: `parts` (those that were measured), `curve_parts` (with a curve), `points`, `steps` (epochs between
    points), `broken_from` (the epoch from which the loss is not a number), `classes`, `layers`, any field of RunView.
    """

    def make(
        *,
        parts: Sequence[str] = ("train", "validation", "test"),
        curve_parts: Sequence[str] = ("validation", "test"),
        points: int = 10,
        steps: float = 1.0,
        broken_from: float = 1e9,
        classes: tuple[str, ...] = CLASSES,
        layers: Sequence[str] = LAYERS,
        **fields: Any,
    ) -> RunView:
        recipe = Recipe.from_tables(
            {
                "data": {"source": "cifar10", "augment": ["crop(padding=4)", "flip(0.5)"]},
                "model": {"layers": list(layers)},
            }
        )
        epochs = _points(points, steps, curve_parts, broken_from)
        diverged = broken_from <= points * steps
        scores = {part: _score(PARTS[part], 0.74, 0.7318, classes) for part in parts if not diverged}
        result = RunResult(
            run="20260101-120000-lenet",
            status="diverged" if diverged else "finished",
            parameters=_trace_of(recipe).parameters,
            epochs=points * steps,
            selected_epoch=min(6.0, points * steps),
            train=scores.get("train") and _score(PARTS["train"], 0.3812, 0.8712, classes),
            validation=scores.get("validation"),
            test=scores.get("test"),
            seconds=20.5 * points * steps,
            images_per_second=2195.0,
            message="the loss stopped being a number before the end of epoch 3" if diverged else "",
        )
        test_set = "9f86d081884c7d65"
        openings = tuple(
            LedgerEntry(time=f"2026-01-0{day}T12:00:00+0100", run=run, test_set=test_set, purpose="end of the recipe")
            for day, run in ((1, "20260101-120000-lenet"), (2, "20260102-090000-lenet-wide"))
        )
        made: dict[str, Any] = {
            "name": "20260101-120000-lenet",
            "recipe": recipe,
            "table": _table(recipe),
            "data": DataRecord(
                source="cifar10",
                classes=classes,
                splits={part: images for part, images in PARTS.items() if part in parts or part == "test"},
                split_hash="9f86d081884c7d659a2feaa0c55ad015",
                test_set=test_set,
                preprocessing=Preprocessing(
                    channels=3,
                    height=32,
                    width=32,
                    interpolation="bilinear",
                    mean=(0.4914, 0.4822, 0.4465),
                    std=(0.2470, 0.2435, 0.2616),
                ),
            ),
            "environment": Environment(
                cnnlab="0.1.0",
                python="3.11.9",
                torch="2.11.0",
                platform="Linux-6.1-x86_64-with-glibc2.36",
                processor="a processor with 2 cores",
                device="cpu",
                threads=2,
                code="4e1243bd22c66e76",
            ),
            "precision_config": PrecisionConfig(
                precision="bf16",
                memory_format="channels_last",
                tried={"fp32, contiguous": 1320, "fp32, channels_last": 1710, "bf16, channels_last": 2260},
                reason="the fastest of a timed trial",
            ),
            "epochs": epochs,
            "result": result,
            "claims": _claims(recipe),
            "openings": openings if "test" in parts else (),
            "activations": _activations(),
            "weights": _weights(_filters()),
            "confusion": _confusion(len(classes)) if "test" in parts else None,
        }
        return RunView(**{**made, **fields})

    return make


@pytest.fixture(scope="session")
def make_weights() -> Callable[..., LayerWeights]:
    """Makes the measured filters of a layer, with any fields of `LayerFilters`."""
    return lambda **fields: _weights(replace(_filters(), **fields))


@pytest.fixture(scope="session")
def make_confusion() -> Callable[[int], ConfusionMatrix]:
    """Makes the confusion matrix of that many classes, 1,000 images each."""
    return _confusion


def _run_name(name: str, seed: int) -> str:
    """As hostile as the arm's, but for what no record of a run's name may hold."""
    kept = "".join(letter for letter in name[:20] if letter not in "/\\\0")
    return f"study-{kept}-{seed}"


def _seeds(name: str, values: Sequence[float], planned: int, train: Sequence[float]) -> tuple[SeedRecord, ...]:
    """A record for each planned run; those without a value have not been made."""
    return tuple(
        SeedRecord(seed=seed, run=_run_name(name, seed), status="not run")
        if seed >= len(values)
        else SeedRecord(
            seed=seed,
            run=_run_name(name, seed),
            status="finished" if isfinite(values[seed]) else "diverged",
            value=values[seed] if isfinite(values[seed]) else None,
            train=train[seed] if isfinite(values[seed]) else None,
            epochs=10.0,
            seconds=95.0 + seed,
            message="" if isfinite(values[seed]) else "the loss is not a number",
            made="abc123",
        )
        for seed in range(planned)
    )


# Draws from a normal distribution, written down: what is said of studies is not to change with numpy's generators.
NORMAL = tuple(map(float, Path(__file__).with_name("normal.txt").read_text(encoding="utf-8").split()))


def _draws(seed: int) -> Iterator[float]:
    return islice(cycle(NORMAL), 70 * seed, None)


def _learning(values: Sequence[float], epochs: int) -> CurveRecord:
    finite = [value for value in values if isfinite(value)]
    points = [tuple(value - 0.5 * exp(-epoch / 2.5) for value in finite) for epoch in range(1, epochs + 1)]
    return CurveRecord(epochs=tuple(map(float, range(1, epochs + 1))), values=tuple(points))


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudyResult]:
    """Studies as their runs would make them: figures are drawn, everything else follows from them."""
    return build_study


def build_study(
    effects: Mapping[str, float] | None = None,
    *,
    runs: int = 10,
    baseline_runs: int | None = None,
    planned: int | None = None,
    failed: Mapping[str, int] | None = None,
    sweep: Sequence[float] | None = None,
    mean: float = 0.72,
    sd: float = 0.003,
    delta: float = 0.002,
    metric: str = "validation_accuracy",
    epochs: int = 10,
    confirm: int = 0,
    seed: int = 0,
    **fields: Any,
) -> StudyResult:
    """A study of arms that lie `effects` above the first one, the baseline, or of values.

    Args:
        failed: how many of an arm's runs diverge. planned: runs an arm, where not all have been made yet.
        confirm: fresh seeds of the best arm and the baseline on the test set.
    """
    effects = dict(effects or {"plain": 0.0, "flips": 0.012, "dropout": -0.02, "warm-up": 0.0})
    if sweep is not None:
        effects = {f"{dose:g}": effects.get(f"{dose:g}", -0.2 * (dose - 0.3) ** 2) for dose in sweep}
    draws, failed = _draws(seed), dict(failed or {})
    higher, baseline = not metric.endswith("loss"), None if sweep is not None else next(iter(effects))
    arms = []
    for number, (name, effect) in enumerate(effects.items()):
        count = baseline_runs or runs if name == baseline else runs
        values = [mean + effect + sd * next(draws) for _ in range(count)]
        values[: failed.get(name, 0)] = [float("nan")] * failed.get(name, 0)
        train = [value + 0.08 - effect for value in values]
        arms.append(
            ArmRecord(
                name=name,
                changes={"train.dropout" if sweep is not None else "data.augment": name} if number else {},
                sweep_value=None if sweep is None else sweep[number],
                parameters=100_000 + 5_000 * number,
                seeds=_seeds(name, values, max(planned or count, count), train),
                sample=Sample(name=name, values=tuple(values)),
                train=Sample(name=name, values=tuple(train)),
                seconds=95.0 + 10 * number if any(map(isfinite, values)) else None,
                curve=_learning(values, epochs),
            )
        )
    samples = {arm.name: arm.sample for arm in arms}
    rules = DecisionRules(delta, 0.05, higher, higher)
    ablation = curve = confirmation = None
    if baseline is not None:
        others = [sample for name, sample in samples.items() if name != baseline]
        ablation = analyze_ablation(samples[baseline], others, rules)
    elif sweep is not None:
        curve = sweep_curve(sweep, list(samples.values()), higher_is_better=higher)
    if confirm and baseline is not None:
        winner = max(effects, key=lambda name: effects[name])
        figures = {name: [mean + effects[name] + sd * next(draws) for _ in range(confirm)] for name in effects}
        fresh = {name: _seeds(name, figures[name], confirm, figures[name]) for name in (winner, baseline)}
        pair = (Sample(name=name, values=tuple(figures[name])) for name in (winner, baseline))
        confirmation = Confirmation(
            winner=winner,
            baseline=baseline,
            metric="test_accuracy",
            seeds=tuple(range(confirm)),
            runs=fresh[winner],
            baseline_runs=fresh[baseline],
            comparison=compare(*pair, rules),
            images=10_000,
        )
    known: dict[str, Any] = {
        "study": "augmentation",
        "question": "Which augmentation helps LeNet on CIFAR-10?",
        "data": "cifar10",
        "images": 5_000,
        "precision": "fp32",
        "memory_format": "contiguous",
        "device": "cpu: Abacus, 2 threads",
        "seconds": 95.0 * runs * len(arms),
        "complete": planned is None,
    }
    return StudyResult(
        metric=metric,
        higher_is_better=higher,
        smallest_difference=delta,
        alpha=0.05,
        baseline=baseline,
        arms=tuple(arms),
        ablation=ablation,
        curve=curve,
        confirmation=confirmation,
        trials=len(arms),
        **{**known, **fields},
    )
