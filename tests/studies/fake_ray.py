"""A stand-in for Ray on one machine, which runs each task when its result is asked for; see test_ray_cluster.py."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any


class RayError(Exception):
    """As ray.exceptions.RayError: a process or a node has died."""


class RayTaskError(RayError):
    """As ray.exceptions.RayTaskError: a task raised an exception."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Remote:
    """A remote function or actor class."""

    def __init__(self, target: Callable[..., Any], options: dict[str, Any] | None = None) -> None:
        self.target, self.given = target, options or {}

    def options(self, **options: Any) -> Remote:
        return Remote(self.target, options)

    def remote(self, *arguments: Any) -> Any:
        if isinstance(self.target, type):
            actor = self.target(*arguments)
            methods = [name for name in dir(actor) if not name.startswith("_") and callable(getattr(actor, name))]
            return SimpleNamespace(**{name: Remote(getattr(actor, name)) for name in methods})
        if "num_cpus" in self.given:
            return Future(self.target, arguments)
        return self.target(*arguments)


class Future:
    """The result of a task, computed once."""

    def __init__(self, target: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.target, self.arguments = target, arguments

    def compute(self) -> Any:
        try:
            return self.target(*self.arguments)
        except RayError:
            raise
        except Exception as error:
            raise RayTaskError(error) from None


def fake_ray(cpus: int = 8) -> dict[str, ModuleType]:
    """The modules `ray` and `ray.util.scheduling_strategies` of a cluster of one node."""
    ray, strategies = ModuleType("ray"), ModuleType("ray.util.scheduling_strategies")
    node = {"NodeID": "node-1", "NodeManagerAddress": "10.0.0.1", "Alive": True, "Resources": {"CPU": cpus}}
    strategies.NodeAffinitySchedulingStrategy = lambda **fields: fields
    ray.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    ray.remote = Remote
    ray.get = lambda value, **_: value.compute() if isinstance(value, Future) else value
    ray.wait = lambda futures, **_: (futures, [])
    ray.nodes = lambda: [node]
    ray.get_runtime_context = lambda: SimpleNamespace(get_node_id=lambda: "node-1")
    ray.is_initialized = lambda: False
    ray.init = ray.shutdown = ray.cancel = ray.kill = lambda *_, **__: None
    return {"ray": ray, "ray.util.scheduling_strategies": strategies}
