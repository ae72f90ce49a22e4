"""How sources that need a package or an address are opened: imports and settings, nothing else.

Each setting is an environment variable; here is the one place that knows their names.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import platform
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import SourceError, SourceUnavailable
from ..host import Host
from .base import Source

if TYPE_CHECKING:  # slow to import, and most machines need none
    import requests

__all__ = ["furiosa", "habana", "intel_npu", "kwollect", "npu_exporter", "pyrapl", "redfish"]


def _package(name: str, source: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SourceUnavailable(
            source,
            found=f"no Python package {name}",
            remedy=f"pip install 'joulery[{extra}]'",
        ) from error


def _address(source: str, variable: str, example: str, environ: Mapping[str, str]) -> str:
    address = environ.get(variable)
    if not address:
        raise SourceUnavailable(
            source, found="no address", remedy=f"set {variable}, for instance to {example}"
        )
    return address


def _session() -> requests.Session:
    import requests

    session = requests.Session()
    session.headers["Accept"] = "application/json, text/plain;q=0.9, */*;q=0.1"
    return session


def habana(host: Host) -> Source:
    """Open Gaudi boards through `pyhlml`."""
    from .npu_habana import Habana

    return Habana(_package("pyhlml", "habana", "npu"), host.clock)


def furiosa(host: Host) -> Source:
    """Open Furiosa cards through `furiosa_smi`."""
    from .npu_furiosa import Furiosa

    return Furiosa(_package("furiosa_smi", "furiosa", "npu"), host.clock)


def intel_npu(host: Host) -> Source:
    """Open the NPUs of Intel processors."""
    from .npu_intel import IntelNpu

    return IntelNpu(host.sys, host.clock)


def npu_exporter(host: Host, environ: Mapping[str, str] = os.environ) -> Source:
    """Open the vendor's exporter that JOULERY_NPU_METRICS_URL names.

    Cards that another source of this machine tells are not taken again.
    """
    url = _address(
        "npu-exporter", "JOULERY_NPU_METRICS_URL", "http://localhost:8082/metrics", environ
    )
    from .npu_exporter import NpuExporter

    told = set()
    for vendor, own in (("gaudi", habana), ("furiosa", furiosa)):
        with contextlib.suppress(SourceError):
            own(host)
            told.add(vendor)
    return NpuExporter(_session(), url, host.clock, told=told)


def pyrapl(host: Host) -> Source:
    """Open pyRAPL, where there is something for it to read."""
    from .powercap import find_zones
    from .pyrapl import PyRapl

    find_zones(host.sys)  # before the import, which takes pandas with it where that is there
    with _root_logger_untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is written for older Pythons
        client = _package("pyRAPL", "pyrapl", "energy")
    return PyRapl(client, host.sys)


@contextlib.contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """Keep an import from speaking through the root logger, and from setting one up."""
    root, silence = logging.getLogger(), logging.NullHandler()
    before = root.manager.disable
    root.addHandler(silence)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(silence)


def redfish(host: Host, environ: Mapping[str, str] = os.environ) -> Source:
    """Open the board controller that JOULERY_REDFISH_URL names.

    JOULERY_REDFISH_USER and JOULERY_REDFISH_PASSWORD let in; JOULERY_REDFISH_CHASSIS chooses one
    chassis; JOULERY_REDFISH_INSECURE=1 takes any certificate.
    """
    url = _address("redfish", "JOULERY_REDFISH_URL", "https://bmc.example.org", environ)
    from .redfish import Bmc, Redfish

    session = _session()
    if environ.get("JOULERY_REDFISH_INSECURE") == "1":
        import urllib3

        session.verify = False
        session.trust_env = False  # else REQUESTS_CA_BUNDLE would have its way
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    bmc = Bmc(
        session, url, environ.get("JOULERY_REDFISH_USER"), environ.get("JOULERY_REDFISH_PASSWORD")
    )
    return Redfish(bmc, host.clock, chassis=environ.get("JOULERY_REDFISH_CHASSIS"))


def kwollect(host: Host, environ: Mapping[str, str] = os.environ) -> Source:
    """Open the Kwollect of the Grid'5000 site that JOULERY_KWOLLECT_URL names.

    JOULERY_KWOLLECT_NODE is this machine if not given; JOULERY_KWOLLECT_USER and
    JOULERY_KWOLLECT_PASSWORD let in from outside.
    """
    url = _address(
        "kwollect", "JOULERY_KWOLLECT_URL", "https://api.grid5000.fr/stable/sites/lyon", environ
    )
    from .kwollect import Kwollect

    session = _session()
    user = environ.get("JOULERY_KWOLLECT_USER")
    if user:
        session.auth = (user, environ.get("JOULERY_KWOLLECT_PASSWORD", ""))
    node = environ.get("JOULERY_KWOLLECT_NODE") or platform.node().partition(".")[0]
    return Kwollect(session, url, node, clock=host.clock, wall=time.time)
