"""Which AI services a pod has: from its annotations, its ports and its addresses; nothing is asked.

Whoever makes a pod writes its annotations, so they are a stranger's words. They choose a port and a
path, and never the host: that is the pod's own address, as the kubelet tells it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..dialects.dialect import Dialect
from .addresses import address, host_of, is_of_a_pod
from .target import Pod, Target

__all__ = ["needed", "targets_of"]

_OURS, _KSERVE, _PROMETHEUS = "joulery.io", "prometheus.kserve.io", "prometheus.io"
_MODEL_LABEL = "serving.kserve.io/inferenceservice"
"""KServe sets it on every pod of an InferenceService."""

_SCRAPED_BY = ("port", "path", "scheme", "dialect")
"""Each of these says that a pod is to be scraped, even without `scrape`."""

_INFER_NAMES = ("http", "http1", "rest", "http-rest", "user-port", "h2c")
_INFER_PORTS = (8000, 8080)

_PATH = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,255}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?", re.ASCII)
_LONGEST = 256
_MOST_PORTS = 64
_MOST_TARGETS = 4


def needed(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `targets_of` reads of a pod, and no more: a pod's whole JSON is large.

    `targets_of` makes the same of both.
    """
    metadata, spec, status = _part(pod, "metadata"), _part(pod, "spec"), _part(pod, "status")
    annotations = {
        # One character more than is allowed, so that it is still seen to be too long.
        key: str(value or "")[: _LONGEST + 1]
        for key, value in _part(metadata, "annotations").items()
        if key.partition("/")[0] in {_OURS, _KSERVE, _PROMETHEUS}
    }
    labels = _part(metadata, "labels")
    ports = [{"name": name, "containerPort": number} for name, number in _ports(spec)]
    conditions = [{k: one.get(k) for k in ("type", "status")} for one in _readiness(status)]
    found: dict[str, Any] = {
        "metadata": {key: metadata[key] for key in ("namespace", "name", "uid") if key in metadata},
        "spec": {"containers": [{"ports": ports}]} if ports else {},
        "status": {k: status[k] for k in ("phase", "podIP", "podIPs") if status.get(k)},
    }
    if annotations:
        found["metadata"]["annotations"] = annotations
    if _MODEL_LABEL in labels:
        found["metadata"]["labels"] = {_MODEL_LABEL: labels[_MODEL_LABEL]}
    if conditions:
        found["status"]["conditions"] = conditions
    if metadata.get("deletionTimestamp"):
        found["metadata"]["deletionTimestamp"] = metadata["deletionTimestamp"]
    if spec.get("hostNetwork"):
        found["spec"]["hostNetwork"] = True
    return found


def targets_of(
    pod: Mapping[str, Any], dialects: Sequence[Dialect], *, own_uid: str = ""
) -> tuple[Pod, list[Target], list[str]]:
    """Return who a pod is, its services, and what is wrong with its annotations.

    Only pods that run have services; those on their way out have none any more. A pod that has
    ended has no address either: another one may have got it.

    Args:
        pod: As the API server tells it, or what `needed` kept of it.
        dialects: Those that there are.
        own_uid: The exporter's own pod, which has no services.
    """
    who = _who(pod)
    metadata = _part(pod, "metadata")
    runs = _part(pod, "status").get("phase") == "Running" and not metadata.get("deletionTimestamp")
    if not runs or not who.addresses or (own_uid and who.uid == own_uid):
        return who, [], []
    said = _Said(_part(metadata, "annotations"), tuple(_ports(_part(pod, "spec"))))
    host, label = host_of(who.addresses[0]), str(_part(metadata, "labels").get(_MODEL_LABEL, ""))
    bare = Target(
        pod=who,
        model=said.text("model") or label,
        variant=said.text("variant"),
        is_ready=all(one.get("status") == "True" for one in _readiness(_part(pod, "status"))),
    )
    targets = [
        replace(
            bare,
            url=f"{place.scheme}://{host}:{place.port}{place.path}",
            dialect=place.dialect,
            certain=place.certain,
        )
        for place in _places(said, dialects, kserve=bool(label))[:_MOST_TARGETS]
    ] or [bare]
    # Each pod is probed once, at however many ports it tells its metrics.
    golden, infer_url = _probed(said, host)
    targets[0] = replace(targets[0], golden=golden, infer_url=infer_url)
    return who, [one for one in targets if one.url or one.infer_url], said.problems


def _part(whole: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = whole.get(key)
    return found if isinstance(found, Mapping) else {}


def _readiness(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the condition `Ready` of a pod, none where nothing was said of it."""
    return [one for one in status.get("conditions") or () if one.get("type") == "Ready"]


def _who(pod: Mapping[str, Any]) -> Pod:
    metadata, status = _part(pod, "metadata"), _part(pod, "status")
    addresses: dict[str, None] = {}
    if status.get("phase") in {"Pending", "Running"}:
        every = [status.get("podIP"), *(one.get("ip") for one in status.get("podIPs") or ())]
        addresses = {address(text): None for text in map(str, every) if is_of_a_pod(text)}
    return Pod(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        addresses=tuple(addresses),
        host_network=bool(_part(pod, "spec").get("hostNetwork")),
    )


def _ports(spec: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield name and number of the TCP ports that containers declare, as far as one would read."""
    every = (
        (str(port.get("name") or ""), int(port["containerPort"]))
        for kind in ("containers", "initContainers")
        for container in spec.get(kind) or ()
        # Of those that run before the others, only sidecars stay.
        if kind == "containers" or container.get("restartPolicy") == "Always"
        for port in container.get("ports") or ()
        if port.get("protocol") in {None, "TCP"}
    )
    return islice(every, _MOST_PORTS)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where metrics are, on the pod's address."""

    port: int
    path: str
    scheme: str = "http"
    dialect: str = ""
    certain: bool = False


class _Said:
    """What the annotations of a pod say; what is wrong in them counts as not said."""

    def __init__(self, annotations: Mapping[str, Any], ports: Sequence[tuple[str, int]]) -> None:
        self._annotations = annotations
        self.ports = ports
        self._problems: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._annotations

    @property
    def problems(self) -> list[str]:
        return list(self._problems)

    def wrong(self, key: str, found: str, expected: str) -> None:
        self._problems[f"annotation {key}: found {found}, expected {expected}"] = None

    def text(self, key: str, source: str = _OURS) -> str:
        """Return a text that may be a label's value."""
        value = str(self._annotations.get(f"{source}/{key}") or "")
        if len(value) <= _LONGEST and value.isprintable():
            return value
        found = repr(value if len(value) <= _LONGEST else value[:20] + "…")
        self.wrong(f"{source}/{key}", found, f"a line of {_LONGEST} characters at most")
        return ""

    def matching(self, key: str, form: re.Pattern[str], expected: str, source: str = _OURS) -> str:
        value = self.text(key, source)
        if not value or form.fullmatch(value):
            return value
        self.wrong(f"{source}/{key}", repr(value), expected)
        return ""

    def choice(self, key: str, allowed: Iterable[str], source: str = _OURS) -> str:
        value, known = self.text(key, source).lower(), tuple(allowed)
        if not value or value in known:
            return value
        self.wrong(f"{source}/{key}", repr(value), "one of " + ", ".join(known))
        return ""

    def path(self, source: str) -> str:
        return self.matching("path", _PATH, "a path that begins with one '/'", source)

    def flag(self, source: str) -> bool | None:
        word = self.choice("scrape", ("true", "false"), source)
        return None if not word else word == "true"

    def port(self, key: str, source: str = _OURS) -> int | None:
        """Return a port by its number, or by the name that a container gives it."""
        value = self.text(key, source)
        named = dict(reversed(self.ports)).get(value) if value else None
        if named is not None:
            return named
        if re.fullmatch("[0-9]{1,5}", value, re.ASCII) and 1 <= int(value) <= 65535:
            return int(value)
        if value:
            expected = "a number from 1 to 65535, or the name of a container's port"
            self.wrong(f"{source}/{key}", repr(value), expected)
        return None


def _probed(said: _Said, host: str) -> tuple[str, str]:
    """Return the golden set of a pod, and the base URL of its inference protocol."""
    golden = said.matching("golden", _NAME, "the name of a golden set")
    if not golden and f"{_OURS}/infer-port" not in said:
        return "", ""
    port = said.port("infer-port")
    if port is None and f"{_OURS}/infer-port" in said:
        return golden, ""
    if port is None:
        named = dict(reversed(said.ports))
        numbers = {number for _, number in said.ports}
        found = [named[name] for name in _INFER_NAMES if name in named]
        port = next(iter([*found, *(one for one in _INFER_PORTS if one in numbers)]), None)
    if port is None:
        said.wrong(
            f"{_OURS}/infer-port",
            "nothing, and no port that is named " + ", ".join(_INFER_NAMES),
            "the port of the inference protocol, for there is a golden set",
        )
        return golden, ""
    scheme = said.choice("scheme", ("http", "https")) or "http"
    return golden, f"{scheme}://{host}:{port}"


def _places(said: _Said, dialects: Sequence[Dialect], *, kserve: bool) -> list[_Place]:
    """Return where a pod is scraped: as it asks, as it tells Prometheus, or by its ports' names."""
    wanted = said.flag(_OURS)
    if wanted is False:
        return []
    if wanted or any(f"{_OURS}/{key}" in said for key in _SCRAPED_BY):
        return _asked(said, dialects)
    if kserve and f"{_KSERVE}/port" in said:
        port, path = said.port("port", _KSERVE), said.path(_KSERVE) or "/metrics"
        return [] if port is None else [_Place(port, path, certain=True)]
    known = _by_names(said, dialects)
    told = said.flag(_PROMETHEUS)
    if told is None:
        return known
    if told is False:
        return []
    port = said.port("port", _PROMETHEUS)
    if port is None:
        # Prometheus would ask every port.
        if known or f"{_PROMETHEUS}/port" in said or len(said.ports) != 1:
            return known
        port = said.ports[0][1]
    path = said.path(_PROMETHEUS) or "/metrics"
    return [_Place(port, path, said.choice("scheme", ("http", "https"), _PROMETHEUS) or "http")]


def _asked(said: _Said, dialects: Sequence[Dialect]) -> list[_Place]:
    """Return where a pod is scraped that asks for it; what it leaves out is found elsewhere."""
    name = said.choice("dialect", (one.name for one in dialects))
    chosen = [one for one in dialects if one.name == name]
    source = next((s for s in (_OURS, _KSERVE, _PROMETHEUS) if f"{s}/port" in said), _OURS)
    port, path = said.port("port", source), said.path(_OURS)
    if source != _OURS:
        path = path or said.path(source)
    if port is None and f"{source}/port" not in said:
        found = _by_names(said, chosen or dialects)
        if found:
            port, path = found[0].port, path or found[0].path
        elif chosen:
            port = chosen[0].port
        else:
            said.wrong(f"{_OURS}/port", "nothing", "the port of its metrics")
    if port is None:
        return []
    scheme = said.choice("scheme", ("http", "https"))
    if not scheme and source == _PROMETHEUS:
        scheme = said.choice("scheme", ("http", "https"), source)
    default = chosen[0].path if chosen else "/metrics"
    return [_Place(port, path or default, scheme or "http", name, certain=True)]


def _by_names(said: _Said, dialects: Sequence[Dialect]) -> list[_Place]:
    """Return the ports whose names servers of a dialect use; what they serve tells which it is."""
    places = {
        _Place(number, one.path): None
        for name, number in said.ports
        for one in dialects
        if name in one.port_names
    }
    return list(places)
