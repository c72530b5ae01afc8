"""Optuna's part of a search: where trials are kept, how values are drawn, when a trial is ended, what mattered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.config.search import Search
from cnnlab.config.search_space import (
    CategoricalSpace,
    IntegerSpace,
    LogUniformSpace,
    MedianPruner,
    SuccessiveHalvingPruner,
    UniformSpace,
)
from cnnlab.errors import UsageError
from cnnlab.randomness import generator
from cnnlab.tuning.result import ImportanceRecord

if TYPE_CHECKING:
    import optuna

# Importance is what sets the best tenth apart, or so many where that is more: one or two are chance.
MIN_BEST_TRIALS, BEST_SHARE = 5, 0.1
# Optuna starts with random samples; a short search has fewer such trials than its ten.
RANDOM_TRIALS, RANDOM_SHARE = 10, 3
DATABASE_TIMEOUT_S = 60


def load_optuna() -> Any:
    """Import Optuna, with its logging silenced.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        step = "pip install 'cnnlab[optuna]'"
        raise UsageError("tuning needs Optuna, and it is not installed", next_step=step) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Without the warnings that parts of Optuna are new and may change."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def open_storage(url: str | None, folder: Path) -> Any:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    if url is None:
        url = f"sqlite:///{folder.resolve() / 'optuna.db'}"
    try:
        if url.startswith("sqlite:"):
            waiting = {"connect_args": {"timeout": DATABASE_TIMEOUT_S}}
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=waiting))
        return optuna.storages.get_storage(url)
    except (SQLAlchemyError, ValueError, ImportError, OSError) as error:
        raise UsageError(
            f"this storage can't be opened: {str(error).partition(chr(10))[0]}",
            where="--storage",
            received=url,
            allowed="an Optuna storage, such as sqlite:///trials.db, mysql://… or redis://…",
            next_step="leave --storage out for a file of this machine",
        ) from None


def suggest(trial: optuna.Trial, name: str, space: Any) -> Any:
    if isinstance(space, LogUniformSpace):
        return trial.suggest_float(name, space.low, space.high, log=True)
    if isinstance(space, UniformSpace):
        return trial.suggest_float(name, space.low, float(space.bounds()[1]), step=space.step)
    if isinstance(space, IntegerSpace):
        return trial.suggest_int(name, space.low, int(space.bounds()[1]), step=space.step, log=space.log)
    assert isinstance(space, CategoricalSpace)
    return trial.suggest_categorical(name, space.values())


def new_pruner(search: Search) -> Any:
    import optuna

    points, kind = search.base.train.validations_per_epoch, search.pruner
    if isinstance(kind, MedianPruner):
        # Steps count validations from 1: none is ended in the steps up to the warm-up's last.
        return optuna.pruners.MedianPruner(n_startup_trials=kind.startup, n_warmup_steps=kind.warmup * points + 1)
    if isinstance(kind, SuccessiveHalvingPruner):
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=kind.first * points, reduction_factor=kind.factor)
    return optuna.pruners.NopPruner()


def new_sampler(search: Search, number: int) -> Any:
    """What draws the values of the trial of this number."""
    import optuna

    seed = int(generator(search.seed, "trial", number).integers(2**31))
    if search.sampler != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    first = min(RANDOM_TRIALS, max(1, search.trials // RANDOM_SHARE))
    # A trial that another process is at counts as a poor one, so that not all draw the same.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=first, constant_liar=True)


def param_importances(study: optuna.Study, finished: int) -> tuple[ImportanceRecord, ...]:
    """How much each parameter matters, the most important first; empty where there are too few finished trials.

    PED-ANOVA: S. Watanabe, A. Bansal, F. Hutter: PED-ANOVA: Efficiently quantifying hyperparameter importance in
    arbitrary subspaces, IJCAI 2023.
    """
    share = max(BEST_SHARE, MIN_BEST_TRIALS / max(finished, 1))
    if share > 0.5:
        return ()
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with silence_warnings():
        try:
            shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=share))
        except (ValueError, RuntimeError):  # all values are the same, or no parameter is in all trials
            return ()
    best = math.ceil(share * finished - 1e-9)
    return tuple(ImportanceRecord(name=name, share=float(share), best=best) for name, share in shares.items())
