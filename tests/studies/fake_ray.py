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
    """A remote function."""

    def __init__(self, target: Callable[..., Any]) -> None:
        self.target = target

    def options(self, **_: Any) -> Remote:
        return self

    def remote(self, *arguments: Any) -> Any:
        return Future(self.target, arguments)


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


def fake_ray(cpus: int = 8) -> ModuleType:
    """The module `ray` of a cluster of one node."""
    ray = ModuleType("ray")
    ray.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    ray.remote = Remote
    ray.get = lambda future: future.compute()
    ray.wait = lambda futures, **_: (futures, [])
    ray.nodes = lambda: [{"Alive": True, "Resources": {"CPU": cpus}}]
    ray.is_initialized = lambda: False
    ray.init = ray.shutdown = ray.cancel = lambda *_, **__: None
    return ray
