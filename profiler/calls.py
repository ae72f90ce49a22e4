"""Puts a context manager around each call of a function: plain, async, or a generator of either."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

__all__ = ["Around", "around_calls"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Around(Protocol):
    """Makes the context manager of one call from its arguments.

    `ambient` says whether the call's own code runs in the context of its caller; the steps of a
    generator run in their consumer's.
    """

    def __call__(self, args: Any, kwargs: Any, *, ambient: bool) -> AbstractContextManager[Any]:
        """Return it."""
        ...


def around_calls(function: _Function, around: Around) -> _Function:
    """Return the function with the context manager around each of its calls.

    A generator's call takes until it is exhausted or closed.
    """

    def called(*args: Any, **kwargs: Any) -> Any:
        with around(args, kwargs, ambient=True):
            return function(*args, **kwargs)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with around(args, kwargs, ambient=True):
            return await function(*args, **kwargs)

    def generated(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with around(args, kwargs, ambient=False):
            return (yield from function(*args, **kwargs))

    async def streamed(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with around(args, kwargs, ambient=False):
            async with contextlib.aclosing(function(*args, **kwargs)) as items:
                async for item in items:
                    yield item

    wrapper: Callable[..., Any] = called
    if inspect.iscoroutinefunction(function):
        wrapper = awaited
    elif inspect.isasyncgenfunction(function):
        wrapper = streamed
    elif inspect.isgeneratorfunction(function):
        wrapper = generated
    return cast("_Function", functools.wraps(function)(wrapper))
