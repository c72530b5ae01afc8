"""Tables, against a snapshot and against the records they are made from."""

from math import nan
from pathlib import Path

from cnnlab.architecture.memory import estimate_memory
from cnnlab.records import ClassScore, Score
from cnnlab.render.formatting import format_bytes
from cnnlab.reports.architecture.layer_table import layer_table
from cnnlab.reports.claims import claims_table
from cnnlab.reports.run import tables
from cnnlab.stats.intervals import wilson_interval

GOLDEN = Path(__file__).parents[1] / "golden" / "tables.txt"


def as_text(table: tables.TextTable) -> str:
    grid = [[column.title for column in table.columns], *table.rows]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    numbers = [column.number for column in table.columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in grid
    )


def column(table: tables.TextTable, title: str) -> list[str]:
    index = [each.title for each in table.columns].index(title)
    return [row[index] for row in table.rows]


def test_the_tables_of_a_run_are_those_of_the_snapshot(make_view):
    view = make_view()
    made = [
        layer_table(view.table),
        tables.final_table(view.result, view.data),
        tables.class_table(view.result.test),
        claims_table(view.claims, of=""),
        tables.ledger_table(view.openings),
    ]
    assert "\n\n".join(map(as_text, made)) + "\n" == GOLDEN.read_text(encoding="utf-8")


def test_the_total_row_adds_up(make_view):
    table = layer_table(make_view().table)
    for title in ("parameters", "multiply-adds"):
        *cells, total = [cell.replace(",", "") for cell in column(table, title)]
        assert sum(int(cell) for cell in cells if cell != "–") == int(total)
    assert table.total


def test_the_shares_are_of_the_sums(make_view):
    known = make_view().table
    table = layer_table(known)
    for title, field in (("share", "parameters"), ("their share", "macs")):
        whole = getattr(known, field)
        for layer, cell in zip(known.layers, column(table, title), strict=False):
            part = getattr(layer, field)
            expected = f"{100 * part / whole:.1f} %" if part / whole >= 0.001 else "< 0.1 %" if part else ""
            assert cell == expected


def test_with_a_memory_each_row_has_what_it_keeps(make_view):
    known = make_view().table
    taken = estimate_memory(known.layers, known.parameters, batch_size=64, state_per_parameter=2)
    *cells, total = column(layer_table(known, taken), "memory")
    assert cells[:3] == ["768.0 KiB", "8.0 MiB", "4.0 MiB"]
    assert total == format_bytes(taken.activations)
    assert len({len(row) for row in layer_table(known, taken).rows}) == 1


def test_every_row_has_a_cell_for_every_column(make_view):
    view = make_view(parts=("train",), curve_parts=())
    for table in (
        layer_table(view.table),
        tables.final_table(view.result, view.data),
        claims_table(view.claims, of=""),
        tables.ledger_table(make_view().openings),
        tables.class_table(view.result.train),
    ):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_rows_within_rows_are_indented_once_for_each_level(make_view):
    layers = ["repeat(2, [residual([conv(3, 3, padding=1)])])", "flatten", "dense(classes)"]
    table = layer_table(make_view(layers=layers, claims=()).table)
    assert column(table, "name")[:4] == ["repeat1", "    0.residual1", "        body.conv1", "    1.residual1"]
    assert column(table, "layer")[:3] == ["repeat(2, […])", "residual([…])", "conv(3, 3, padding=1)"]


def test_a_sealed_test_set_has_dashes(make_view):
    view = make_view(parts=("train", "validation"))
    row = tables.final_table(view.result, view.data).rows[-1]
    assert row[:2] == ("test", "10,000")
    assert set(row[2:]) == {"–"}


def test_a_diverged_run_has_dashes_everywhere(make_view):
    view = make_view(points=3, broken_from=2)
    assert all(set(row[2:]) == {"–"} for row in tables.final_table(view.result, view.data).rows)
    assert tables.class_table(None).rows == ()


def test_accuracies_have_wilson_intervals(make_view):
    score = make_view().result.test
    assert tables.accuracy_interval(score) == wilson_interval(7318, 10_000)
    assert tables.accuracy_interval(None) is None
    assert tables.accuracy_interval(score.model_copy(update={"accuracy": nan})) is None


def test_a_class_that_was_never_predicted_has_no_precision():
    each = ClassScore(name="cat", images=3, recall=0.0, precision=nan)
    score = Score(images=3, loss=1, accuracy=0, top5=1, balanced_accuracy=0, macro_f1=0, per_class=(each,))
    assert tables.class_table(score).rows == (("cat", "3", "0.0000", "–"),)


def test_a_claim_has_its_reason(make_view):
    reasons = column(claims_table(make_view().claims), "why")
    assert reasons[0] == "ours is 37,056 higher"
    assert reasons[1:3] == ["1 run of 5; ours is 0.0169 higher", "1 run of 5; ours is 0.0593 lower"]
    assert reasons[4] == "no run has this figure"


def test_the_points_of_the_curves_are_those_of_the_records(make_view):
    view = make_view(points=4, steps=0.5, curve_parts=("validation",))
    table = tables.curve_table(view.epochs)
    assert [column.title for column in table.columns] == [
        *("epoch", "step", "train loss", "train accuracy", "validation loss", "validation accuracy")
    ]
    for row, record in zip(table.rows, view.epochs, strict=True):
        values = (record.train.loss, record.train.accuracy, record.validation.loss, record.validation.accuracy)
        assert row[:2] == (f"{record.epoch:g}", f"{record.step:,}")
        assert row[2:] == tuple(f"{value:.4f}" for value in values)
    assert tables.curve_table(()).rows == ()
