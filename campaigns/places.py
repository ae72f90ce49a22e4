"""Where a scenario's service runs, and what that allows: here, in a cluster, or elsewhere."""

from __future__ import annotations

from ..errors import SpecError
from .spec import CampaignSpec, Factors, ScenarioSpec

__all__ = [
    "check_environments",
    "check_kernel_networks",
    "check_networks",
    "check_place",
    "runs_here",
]


def runs_here(part: ScenarioSpec) -> bool:
    """Tell whether the service is a process of this machine."""
    return part.endpoint is None and part.kubernetes is None


def check_place(part: ScenarioSpec, subject: str, place: str) -> None:
    """Refuse what cannot be where the service is to run.

    Args:
        part: The scenario's entry.
        subject: The specification's file, for messages.
        place: Where the entry stands in it.

    Raises:
        SpecError: With what cannot be.
    """
    if part.endpoint is not None and part.kubernetes is not None:
        raise SpecError(
            subject,
            place=place,
            found="endpoint and kubernetes",
            expected="one of them",
            remedy="an endpoint runs already; kubernetes starts one for each trial",
        )
    if part.endpoint is not None:
        _one_each(part, subject, place)
    if part.kubernetes is None and part.factors.node:
        raise SpecError(
            subject,
            place=f"{place}.factors.node",
            found="levels, and nothing that chooses nodes",
            expected="a `kubernetes` section, or no levels",
        )
    if part.kubernetes is not None:
        _only_shipped(part, subject, place)


def _one_each(part: ScenarioSpec, subject: str, place: str) -> None:
    """Refuse levels between which nobody could switch a server that runs already."""
    for name in Factors.model_fields:
        levels = getattr(part.factors, name)
        if name not in ("model", "node") and len(levels) > 1:
            raise SpecError(
                subject,
                place=f"{place}.factors.{name}",
                found=f"{len(levels)} levels with an endpoint",
                expected="one, the server's own",
                remedy="measure each server in a campaign of its own, or leave the endpoint out",
            )


def _only_shipped(part: ScenarioSpec, subject: str, place: str) -> None:
    """Refuse models that no image has: those that would be fitted, or lie, on this machine."""
    for name, own in (("data", part.data), ("detectors", part.detectors)):
        if own:
            raise SpecError(
                subject,
                place=f"{place}.{name}",
                found="models of your own in a cluster",
                expected="those that the image has",
                remedy="deploy them with campaigns/chart and name their address in `endpoint`, or "
                "measure on this machine",
            )


def check_networks(spec: CampaignSpec, subject: str) -> None:
    """Refuse emulated networks to a server that is asked over TLS: its name would not fit.

    Raises:
        SpecError: With the scenario's entry.
    """
    for index, part in enumerate(spec.scenarios):
        emulated = any(network.device is None for network in spec.networks)
        if emulated and part.endpoint is not None and part.endpoint.url.startswith("https"):
            raise SpecError(
                subject,
                place=f"scenarios[{index}].endpoint.url",
                found=f"{part.endpoint.url} and networks",
                expected="http, where a network is emulated",
                remedy="the certificate names the server, and the emulator is another; leave "
                "networks out, or give the server a port without TLS",
            )


def check_kernel_networks(spec: CampaignSpec, subject: str) -> None:
    """Refuse networks of the kernel's to a service of this machine: nothing goes over a device.

    Raises:
        SpecError: With the network.
    """
    here = next((part.scenario for part in spec.scenarios if runs_here(part)), None)
    for index, network in enumerate(spec.networks):
        if network.device is not None and here is not None:
            raise SpecError(
                subject,
                place=f"networks[{index}].device",
                found=f"'{network.device}', and {here} on this machine",
                expected="services elsewhere, which are reached by a device",
                remedy="leave `device` out: the link emulator stands before services of this "
                "machine too",
            )


def check_environments(spec: CampaignSpec, subject: str) -> None:
    """Refuse environments where the service is not on this machine, which alone they change.

    Raises:
        SpecError: With the scenario's entry.
    """
    for index, part in enumerate(spec.scenarios):
        if spec.environments and not runs_here(part):
            where = "kubernetes" if part.endpoint is None else "endpoint"
            raise SpecError(
                subject,
                place=f"scenarios[{index}].{where}",
                found=f"{part.scenario} elsewhere, and environments",
                expected="a service of this machine, where environments are told apart",
                remedy="only this machine can be given a neighbour or a frequency; measure "
                f"{part.scenario} in a campaign of its own, or leave environments out",
            )
