"""Optuna's part of a search: the storage of trials, samplers, pruners and importances."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
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

# Importance compares the best tenth with the others, or this many trials where that is more.
MIN_BEST_TRIALS, BEST_SHARE = 5, 0.1
# Optuna starts with random samples; a short search has fewer such trials than its ten.
RANDOM_TRIALS, RANDOM_SHARE = 10, 3
DATABASE_TIMEOUT_S = 60
# A process whose trial has had no heartbeat for the grace period counts as dead.
HEARTBEAT_INTERVAL_S, GRACE_PERIOD_S = 5, 60


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
    """Silence the warnings that parts of Optuna are experimental."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def open_storage(
    url: str | None, folder: Path, on_stale: Callable[[optuna.Study, optuna.trial.FrozenTrial], None]
) -> optuna.storages.RDBStorage:
    """Open a storage whose running trials have heartbeats.

    Args:
        url: None: a SQLite file in the folder.
        on_stale: called with each trial whose heartbeat has stopped.

    Raises:
        UsageError: it can't be opened.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    if url is None:
        url = f"sqlite:///{folder.resolve() / 'optuna.db'}"
    try:
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": DATABASE_TIMEOUT_S}} if url.startswith("sqlite:") else None,
            heartbeat_interval=HEARTBEAT_INTERVAL_S,
            grace_period=GRACE_PERIOD_S,
            heartbeat_stale_trial_callback=on_stale,
        )
    except (SQLAlchemyError, ValueError, ImportError, OSError) as error:
        raise UsageError(
            f"this storage can't be opened: {str(error).partition(chr(10))[0]}",
            where="--storage",
            received=url,
            allowed="the URL of a database that Optuna knows, such as sqlite:///trials.db or mysql://…",
            next_step="leave --storage out for a file of this machine",
        ) from None


def suggest(trial: optuna.Trial, name: str, space: Any) -> Any:
    """A value of a space, by the trial's sampler."""
    if isinstance(space, LogUniformSpace):
        return trial.suggest_float(name, space.low, space.high, log=True)
    if isinstance(space, UniformSpace):
        return trial.suggest_float(name, space.low, float(space.bounds()[1]), step=space.step)
    if isinstance(space, IntegerSpace):
        return trial.suggest_int(name, space.low, int(space.bounds()[1]), step=space.step, log=space.log)
    assert isinstance(space, CategoricalSpace)
    return trial.suggest_categorical(name, space.values())


def new_pruner(search: Search) -> optuna.pruners.BasePruner:
    """The pruner of a search; steps count validations."""
    import optuna

    points, kind = search.base.train.validations_per_epoch, search.pruner
    if isinstance(kind, MedianPruner):
        # Steps count validations from 1: none is ended in the steps up to the warm-up's last.
        return optuna.pruners.MedianPruner(n_startup_trials=kind.startup, n_warmup_steps=kind.warmup * points + 1)
    if isinstance(kind, SuccessiveHalvingPruner):
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=kind.first * points, reduction_factor=kind.factor)
    return optuna.pruners.NopPruner()


def new_sampler(search: Search, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of the trial with this number."""
    import optuna

    seed = int(generator(search.seed, "trial", number).integers(2**31))
    if search.sampler != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    first = min(RANDOM_TRIALS, max(1, search.trials // RANDOM_SHARE))
    # A running trial counts as a poor one, so that processes do not sample the same values.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=first, constant_liar=True)


def param_importances(study: optuna.Study, finished: int) -> tuple[ImportanceRecord, ...]:
    """The importance of each parameter, the highest first; empty where there are too few finished trials.

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
