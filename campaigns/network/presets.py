"""Conditions of well-known kinds of networks, each with where its figures come from.

A source that tells round trips is halved; one that tells quantiles is read as `Link` describes
delay: a floor, and exponential jitter each way. What no source tells is left out, as zero.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from ...errors import SpecError
from .conditions import Conditions, Link

__all__ = ["PRESETS", "preset"]

_3GPP_LOSS = 1e-6
"""3GPP TS 23.203 (QCI 9) and TS 23.501 (5QI 9): the residual packet error rate of the default
bearer, on which TCP goes. The radio repeats what it lost, which is jitter."""

_LAN = Conditions(
    name="lan",
    up=Link(delay_s=0.000108, rate_bps=1e9, loss_ratio=1.31e-5),
    down=Link(delay_s=0.000108, rate_bps=1e9, loss_ratio=1.31e-5),
    origin="Rate: 1000BASE-T (IEEE 802.3). Delay and loss: Guo et al., Pingmesh, SIGCOMM 2015: "
    "between servers of one pod the median round trip was 216 µs, and 1.31e-5 of packets were "
    "dropped. Below about 0.2 ms the emulator's own time is part of the delay.",
)

_WIFI = Conditions(
    name="wifi",
    up=Link(jitter_s=0.0119),
    down=Link(jitter_s=0.0119),
    origin="Pei et al., WiFi can be the weakest link of round trip network latency in the wild, "
    "INFOCOM 2016: of the TCP packets at 47 access points of a campus half took more than 20 ms "
    "over the Wi-Fi hop and back. A room's propagation is nothing, contention is all: two "
    "exponential waits whose sum has the median 20 ms. It tells neither rate nor loss.",
)

_4G = Conditions(
    name="4g",
    up=Link(delay_s=0.0116, jitter_s=0.0116, rate_bps=11.3e6, loss_ratio=_3GPP_LOSS),
    down=Link(delay_s=0.0116, jitter_s=0.0116, rate_bps=33.3e6, loss_ratio=_3GPP_LOSS),
    origin="Trevisan et al., ERRANT: realistic emulation of radio access networks, Computer "
    "Networks 2020, measured with MONROE nodes, operator 3 in Sweden, 4G, good signal, not "
    "roaming: 33.3 Mbit/s down and 11.3 up (profiles.csv of github.com/marty90/errant), round "
    "trip 46.4 ms with a standard deviation of 16.4 ms (profile_info.txt of "
    "github.com/marty90/mobile-latency-emulator). Loss: 3GPP TS 23.203, QCI 9.",
)

_5G_URBAN = Conditions(
    name="5g-urban",
    up=Link(delay_s=0.0074, jitter_s=0.002, rate_bps=14.7e6, loss_ratio=_3GPP_LOSS),
    down=Link(delay_s=0.0074, jitter_s=0.002, rate_bps=129.9e6, loss_ratio=_3GPP_LOSS),
    origin="Rates: Ofcom, Mobile Matters 2023: 129.9 Mbit/s down and 14.7 up, the mean of 5G "
    "connections in the UK, of which most are urban. Delay: Ofcom, Mobile Matters 2024: mean "
    "response times of 16.3 to 21.4 ms by operator, taken as 18.9 ms. Jitter: Rischke et al., "
    "5G Campus Networks, IEEE Access 2021: 95 % of downlink packets took 4 to 10 ms. Loss: 3GPP "
    "TS 23.501, 5QI 9.",
)

_5G_RURAL = Conditions(
    name="5g-rural",
    up=Link(delay_s=0.01, jitter_s=0.0032, rate_bps=11.8e6, loss_ratio=_3GPP_LOSS),
    down=Link(delay_s=0.01, jitter_s=0.0032, rate_bps=98.3e6, loss_ratio=_3GPP_LOSS),
    origin="Rates: those of 5g-urban, less what Opensignal found between urban and rural areas of "
    "the USA in the second quarter of 2023: 24.3 % down and 19.7 % up. Delay and jitter: "
    "Rallabandi, Empirical Benchmarking of 5G NSA in Mixed Urban–Rural Environments, IJRITCC 7(7), "
    "2019, which in part is a simulation: 20 to 35 ms in rural macro cells below 6 GHz, read as "
    "the shortest round trip and its 95th percentile. Loss: 3GPP TS 23.501, 5QI 9.",
)

_SATELLITE = Conditions(
    name="satellite",
    up=Link(delay_s=0.0201, jitter_s=0.004, rate_bps=18.17e6, loss_ratio=0.0045),
    down=Link(delay_s=0.0201, jitter_s=0.004, rate_bps=116.77e6, loss_ratio=0.004),
    origin="Starlink, in low orbit. Rates and delay: Ookla, Above Maine, Starlink Twinkles, 2024: "
    "medians of 116.77 Mbit/s down, 18.17 up and 47 ms. Jitter: wirelessmoves.com, Analyzing "
    "Packet Loss in Starlink, 2024: interarrival jitter of 2.6 to 5.7 ms at 1 Mbit/s, taken as "
    "4 ms. Loss: Michel et al., A First Look at Starlink Performance, IMC 2022: 0.45 % up and "
    "0.40 % down for messages at a low rate.",
)

PRESETS: Mapping[str, Conditions] = MappingProxyType(
    {one.name: one for one in (_LAN, _WIFI, _4G, _5G_URBAN, _5G_RURAL, _SATELLITE)}
)
"""The conditions that have a name, in order of distance."""


def preset(name: str) -> Conditions:
    """Return the conditions that have a name.

    Raises:
        SpecError: When none has it.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        raise SpecError(
            "network preset",
            found=repr(name),
            expected="one of " + ", ".join(PRESETS),
            remedy=f"did you mean {near[0]!r}?" if near else None,
        )
    return PRESETS[name]
