"""One namespace of a cluster, through its API server: each call is one request.

kr8s knows where the server is and who we are. What goes wrong is told with the verb and the
resource that it was about.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ...errors import TrialError

if TYPE_CHECKING:
    from kr8s.asyncio import Api

__all__ = [
    "CONFIG_MAPS",
    "DEPLOYMENTS",
    "EVENTS",
    "NAMESPACES",
    "NODES",
    "PODS",
    "SERVICES",
    "Cluster",
    "Refused",
    "Resource",
    "connected",
]

_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects: group and version, the plural in paths, and whether of a namespace."""

    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """Its API group; empty for the core's."""
        return self.version.rpartition("/")[0]

    def __str__(self) -> str:
        """Return the name by which rules call it, for instance `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


CONFIG_MAPS = Resource("v1", "configmaps", "ConfigMap")
DEPLOYMENTS = Resource("apps/v1", "deployments", "Deployment")
EVENTS = Resource("v1", "events", "Event")
NAMESPACES = Resource("v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("v1", "nodes", "Node", namespaced=False)
PODS = Resource("v1", "pods", "Pod")
SERVICES = Resource("v1", "services", "Service")
_REVIEWS = Resource(
    "authorization.k8s.io/v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)


class Refused(TrialError):
    """The API server refused a request.

    Args:
        status: Its HTTP status.
    """

    def __init__(self, subject: str, *, status: int, **facts: str | None) -> None:
        super().__init__(subject, **facts)
        self.status = status


async def connected(context: str | None) -> Api:
    """Return a client of the cluster that a context of the kubeconfig names.

    Args:
        context: Its name; `None`: the current one, or the cluster we are in.

    Raises:
        TrialError: There is no such thing.
    """
    from kr8s.asyncio import Api

    # Made by its factory, a client would first ask the server's version, and judge it.
    logging.getLogger("httpx").setLevel(logging.WARNING)  # or each request would be a line
    try:
        api = Api(bypass_factory=True, context=context)
        await api.auth
    except (KeyError, OSError, ValueError) as error:
        raise TrialError(
            _named(context),
            found=f"no way in: {type(error).__name__}: {error}",
            expected="a kubeconfig" + (f" with the context {context}" if context else ""),
            remedy="`kubectl get pods` has to work: set KUBECONFIG, or kubernetes.context to one "
            "of `kubectl config get-contexts`",
        ) from None
    return api


def _named(context: str | None) -> str:
    return f"cluster of context {context}" if context else "cluster"


class Cluster:
    """A namespace of a cluster. It is a context manager: left, its connections are closed.

    Args:
        namespace: The namespace; `None`: all of them, for listing and deleting.
        context: Context of the kubeconfig; `None`: the current one.

    Raises:
        TrialError: When it cannot be reached, or refuses, here and in every method.
    """

    def __init__(self, namespace: str | None, *, context: str | None = None) -> None:
        self.namespace, self.context = namespace, context
        self._runner = asyncio.Runner()
        try:
            self._api = self._runner.run(connected(context))
        except BaseException:
            self._runner.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        session = getattr(self._api, "_session", None)  # kr8s has no way to close a client
        if session is not None:
            self._runner.run(session.aclose())
        self._runner.close()

    def get(self, resource: Resource, name: str) -> Mapping[str, Any]:
        """Return an object."""
        found: Mapping[str, Any] = self._json("GET", "get", resource, name)
        return found

    def list(
        self, resource: Resource, *, labels: str | None = None, fields: str | None = None
    ) -> list[Mapping[str, Any]]:
        """Return the objects that selectors of labels and fields choose."""
        chosen = {"labelSelector": labels, "fieldSelector": fields}
        params = {name: value for name, value in chosen.items() if value is not None}
        found: list[Mapping[str, Any]] = self._json("GET", "list", resource, "", params=params)[
            "items"
        ]
        return found

    def create(self, resource: Resource, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make an object, and return it as the server has it."""
        found: Mapping[str, Any] = self._json("POST", "create", resource, "", body=manifest)
        return found

    def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        grace_s: int | None = None,
    ) -> bool:
        """Delete an object after all that it owns; return whether it was there."""
        options: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            self._json("DELETE", "delete", resource, name, namespace=namespace, body=options)
        except Refused as refused:
            if refused.status == 404:
                return False
            raise
        return True

    def log(self, pod: str, container: str, *, previous: bool) -> str:
        """Return the last lines that a container of a pod wrote."""
        params = {"container": container, "tailLines": "20", "previous": str(previous).lower()}
        return self._request("GET", "get", PODS, f"{pod}/log", params=params)[1]

    def forbidden(self, wanted: Iterable[tuple[str, str, str]]) -> Sequence[str]:
        """Return which of some verbs on resources we may not do.

        Args:
            wanted: Verb, API group and resource of each.
        """
        return [
            f"{verb} {resource}{'.' if group else ''}{group}"
            for verb, group, resource in wanted
            if not self._may(verb, group, resource)
        ]

    def _may(self, verb: str, group: str, resource: str) -> bool:
        plain, _, sub = resource.partition("/")
        asked = {"verb": verb, "group": group, "resource": plain, "subresource": sub}
        review = {
            "apiVersion": _REVIEWS.version,
            "kind": _REVIEWS.kind,
            "spec": {"resourceAttributes": asked | {"namespace": self.namespace or ""}},
        }
        return bool(self.create(_REVIEWS, review)["status"]["allowed"])

    def _json(self, *asked: Any, **more: Any) -> Any:
        return json.loads(self._request(*asked, **more)[1])

    def _request(
        self,
        method: str,
        verb: str,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        return self._runner.run(
            self._asked(method, verb, resource, name, namespace or self.namespace, body, params)
        )

    async def _asked(
        self,
        method: str,
        verb: str,
        resource: Resource,
        name: str,
        namespace: str | None,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
    ) -> tuple[int, str]:
        import httpx
        import kr8s

        url = f"{resource.plural}/{name}" if name else resource.plural
        sent: dict[str, Any] = {"params": dict(params or {}), "timeout": httpx.Timeout(_LIMIT_S)}
        if body is not None:
            sent["json"] = dict(body)
        try:
            async with self._api.call_api(
                method,
                version=resource.version,
                namespace=namespace if resource.namespaced else None,
                url=url,
                **sent,
            ) as response:
                return response.status_code, response.text
        except (kr8s.ServerError, kr8s.APITimeoutError, httpx.HTTPError, OSError) as error:
            raise self._explained(error, verb, resource, namespace) from None

    def _explained(
        self, error: Exception, verb: str, resource: Resource, namespace: str | None
    ) -> Refused:
        response = getattr(error, "response", None)
        status = 0 if response is None else int(response.status_code)
        where = f"namespace {namespace}" if resource.namespaced and namespace else None
        said = " ".join(str(error).split())[:300] or type(error).__name__
        remedy = {
            0: "is the API server up, and does `kubectl get pods` work from here?",
            401: "the credentials of the kubeconfig are refused: log in again",
            403: f"let your user or service account {verb} {resource}, by a Role and RoleBinding; "
            f"`kubectl auth can-i {verb} {resource}"
            + (f" --namespace {namespace}`" if where else "` says whether it may"),
        }.get(status)
        return Refused(
            _named(self.context),
            status=status,
            place=where,
            found=f"{verb} {resource}: {f'status {status}: ' if status else ''}{said}",
            remedy=remedy,
        )
