"""`cnnlab tune`: which values of a recipe's parameters are best, found by trials and confirmed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import (
    DataFolder,
    Debug,
    Device,
    Json,
    RunsFolder,
    Set,
    about_file,
    check_picture,
    guarded,
    overrides,
)
from cnnlab.cli.output.documents import Form, Latex, Markdown, show_answer

SearchFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A search: a .toml file, or the name of one that comes with cnnlab.", show_default=False
    ),
]
Trials = Annotated[int | None, typer.Option(min=1, metavar="N", help="So many trials, instead of the file's.")]
Jobs = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="So many trials side by side.")]
Name = Annotated[str, typer.Option(metavar="NAME", help="What the search is called; by default as its file.")]
Storage = Annotated[
    str | None,
    typer.Option(metavar="URL", help="An Optuna storage, by default a file in the runs folder.", show_default=False),
]
SvgFile = Annotated[
    Path | None, typer.Option("--svg", metavar="FILE", help="Also write the picture: an .svg file.", show_default=False)
]
OnlyPlan = Annotated[bool, typer.Option("--plan", help="Say what would run and how long it may take; run nothing.")]


def register(app: typer.Typer) -> None:
    app.command()(guarded(tune))


def tune(
    file: SearchFile,
    set_: Set = None,
    trials: Trials = None,
    plan: OnlyPlan = False,
    jobs: Jobs = 1,
    name: Name = "",
    storage: Storage = None,
    device: Device = "auto",
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    svg: SvgFile = None,
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    debug: Debug = False,
) -> None:
    """Search for the best values of some parameters by trials, and confirm the best trial with fresh seeds.

    Given again, it goes on where it was; with more --trials it makes the rest. Needs pip install 'cnnlab\\[optuna]'.
    """
    form = Form(json, markdown, latex)
    if svg is not None:
        check_picture(svg, "trials.svg")
    from cnnlab.cli.output.console import progressing, say
    from cnnlab.config.search import Search

    known = Search.read(_found(file), overrides(set_), **({} if trials is None else {"trials": trials}))
    called = name or file.stem
    if plan:
        from cnnlab.data.dataset_cache import Shelf
        from cnnlab.reports.tuning.answer import PlannedAnswer
        from cnnlab.tuning.plan import plan_search, summary

        with progressing() as shown, about_file(file):
            planned = plan_search(known, called, device=device, shelf=Shelf(data, shown, download=False))
        show_answer(PlannedAnswer(summary(planned)), form)
        return
    from cnnlab.api.train import tune as carry_out
    from cnnlab.cli.output.progress_bars import Tuning, resumable
    from cnnlab.tuning.search import tuning_folder

    with progressing() as shown, about_file(file):
        tuning = Tuning(shown)
        with resumable(lambda: tuning.is_planned):
            answer = carry_out(
                known,
                name=called,
                runs=runs,
                data=data,
                device=device,
                jobs=jobs,
                storage=storage,
                onlookers=tuning.onlookers(),
            )
    if svg is not None:
        from cnnlab.atomic_io import write_whole

        write_whole(svg, answer.svg().encode("utf-8"), "choose another place with --svg")
    folder = tuning_folder(runs, answer.result.study)
    show_answer(answer, form, extra={"report": str(folder / "report.html"), "recipe": str(folder / "best.toml")})
    if not form.json:
        say(f"report: {folder / 'report.html'}")
        if answer.result.best is not None:
            say(f"the best trial's recipe: {folder / 'best.toml'}")
    if answer.result.untested:
        raise typer.Exit(1)


def _found(file: Path) -> Path:
    """The file, with its ending or without, or else the search of that name that comes with cnnlab."""
    from cnnlab.grammar.toml_files import shipped_search

    if file.is_file() or file.parent != Path():
        return file
    here, named = file.with_name(f"{file.stem}.toml"), shipped_search(file.stem)
    return next((path for path in (here, named) if path.is_file()), file)
