"""A way to a pod through the API server, as a process of its own that ends with its input.

What it does disturbs neither the load generator nor the meter.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator

from ...errors import JouleryError, TrialError
from ..child import started
from .cluster import connected

__all__ = ["forwarded"]

_START_S = 30.0


@contextlib.contextmanager
def forwarded(namespace: str, pod: str, port: int, *, context: str | None) -> Iterator[str]:
    """Lead a port of this machine to one of a pod; yields its base URL.

    Raises:
        TrialError: When that does not work.
    """
    command = [sys.executable, "-P", "-m", "joulery.campaigns.kubernetes.forward"]
    command += [namespace, pod, str(port)]
    command += [] if context is None else ["--context", context]
    with started(command) as child:
        answer = child.answer(_START_S)
        if answer is None:
            child.kill()
            raise TrialError(
                f"pod {pod}",
                place="port forward",
                found=child.last_word() or f"nothing within {_START_S:g} s",
                expected="a way through the API server",
            )
        yield f"http://127.0.0.1:{answer['port']}"


async def _forward(namespace: str, name: str, port: int, context: str | None) -> None:
    from kr8s.asyncio.objects import Pod

    api = await connected(context)
    pod = Pod({"metadata": {"name": name, "namespace": namespace}}, api=api)
    await api._create_session()  # kr8s makes it with the first request, and this makes none
    async with pod.portforward(remote_port=port, local_port=None) as local:
        print(json.dumps({"port": local}), flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
    # Connections that are still open would be waited for.
    os._exit(0)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("namespace")
    parser.add_argument("pod")
    parser.add_argument("port", type=int)
    parser.add_argument("--context")
    given = parser.parse_args()
    try:
        asyncio.run(_forward(given.namespace, given.pod, given.port, given.context))
    except JouleryError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
