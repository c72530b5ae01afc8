"""The backbones that a recipe names: what is read, what is written, and in which words the rest is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.backbones import (
    LibraryBackbone,
    RunBackbone,
    format_backbone,
    read_backbone,
)
from cnnlab.errors import SpecError

READ = {
    "resnet18('imagenet')": LibraryBackbone("resnet18", "imagenet"),
    "resnet18(weights='none')": LibraryBackbone("resnet18", "none"),
    "resnet50(weights='ResNet50_Weights.IMAGENET1K_V2', cut='layer3')": LibraryBackbone(
        "resnet50", "ResNet50_Weights.IMAGENET1K_V2", cut="layer3"
    ),
    "resnet18(weights='w/own.pth', stem='small')": LibraryBackbone("resnet18", "w/own.pth", stem="small"),
    "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k(weights='none')": LibraryBackbone(
        "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "none"
    ),
    " timm/convnext_tiny(weights='imagenet') ": LibraryBackbone("timm/convnext_tiny", "imagenet"),
    "run('runs/x')": RunBackbone("runs/x"),
    "run('runs/x', cut='conv2', weights='none')": RunBackbone("runs/x", cut="conv2", weights="none"),
    "run(path='runs/x y', cut='residual1.body.conv1')": RunBackbone("runs/x y", cut="residual1.body.conv1"),
}


@pytest.mark.parametrize("text", READ)
def test_a_backbone_is_read_and_written(text: str) -> None:
    assert read_backbone(text) == READ[text]
    assert read_backbone(format_backbone(READ[text])) == READ[text]
    assert read_backbone(READ[text]) is READ[text]


def test_a_written_backbone_spells_its_defaults_out() -> None:
    assert format_backbone(LibraryBackbone("resnet18", "none")) == "resnet18(weights='none', cut='', stem='own')"
    assert format_backbone(RunBackbone("runs/x")) == "run('runs/x', cut='', weights='trained')"


plain = st.text(st.characters(exclude_characters="'\"\n\r", exclude_categories=("Cs", "Cc")), max_size=20)


@given(
    st.from_regex(r"(timm/)?[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(lambda name: name != "run"),
    plain,
    plain,
    st.sampled_from(["own", "small"]),
)
def test_any_network_is_read_back(name: str, weights: str, cut: str, stem: str) -> None:
    made = LibraryBackbone(name, weights, cut, stem)
    assert read_backbone(format_backbone(made)) == made


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet18", "the weights of resnet18 are missing(?s:.*)write resnet18\\(weights='imagenet'\\)"),
        ("resnet18(cut='layer3')", "resnet18 needs 'weights'"),
        ("resnet18(weight='none')", "resnet18 has no argument 'weight'(?s:.*)resnet18\\(weights='imagenet'"),
        ("resnet18(weights='none', stem='tiny')", "stem(?s:.*)'own'(?s:.*)'small'"),
        ("run()", "run needs 'path'"),
        ("run('x', stem='small')", "run has no argument 'stem'"),
        ("run('x', weights='imagenet')", "weights(?s:.*)'trained'(?s:.*)'none'"),
        ("trunk: resnet18(weights='none')", "a backbone has no label"),
        ("resnet18(weights='none'", "column"),
        ("os.system('x')", "column"),
    ],
)
def test_what_is_no_backbone_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_backbone(text)
