"""The tables of an energy validation: what was told of simulated nodes, and what was true.

Every figure in them comes from a simulated node; no machine was measured.
"""

from __future__ import annotations

from .schema import Column, Table, count, interval, number, text

__all__ = ["NODES", "SCORES", "SUMMARY", "TABLES"]


def _required_number(name: str, description: str, unit: str) -> Column:
    return number(name, description, unit, required=True)


_NODE = (
    text("scenario", "Scenario", required=True),
    count("seed", "What the node was drawn from; with the scenario, its identity", required=True),
)

SCORES = Table(
    name="scores",
    description="One row per simulated node, formula, consumer and window: what the formula says,"
    " and what was true.",
    columns=(
        *_NODE,
        text("formula", "Formula", required=True),
        text(
            "claim",
            "What the formula tells, and is judged by: `active` (what a consumer's work added) or"
            " `active_and_idle` (the same and a share of the idle energy by work)",
            required=True,
        ),
        text("consumer", "Consumer of the node", required=True),
        _required_number("start_s", "Start of the window, from the start of the node", "s"),
        _required_number("truth_j", "What the consumer really drew, as the node defines it", "J"),
        _required_number("value_j", "What the formula says", "J"),
        number("low_j", "Lower end of its 95 % interval; null where it states none", "J"),
        number("high_j", "Upper end of its 95 % interval; null where it states none", "J"),
    ),
    twin=False,
)

NODES = Table(
    name="nodes",
    description="One row per simulated node: its drawn machine, conservation, gaps, idle power.",
    columns=(
        text("node", "Name of the node", required=True),
        text("provenance", "`simulated`: no machine was measured", required=True),
        *_NODE,
        count("consumers", "Consumers in all, the system's own work among them", required=True),
        _required_number(
            "residual_ratio",
            "Largest difference, in any window, between the sum of all parts and what the devices"
            " really drew, over the latter",
            "1",
        ),
        count("gaps", "Samples of a domain whose energy was not known", required=True),
        count("samples", "Samples of a domain in all", required=True),
        _required_number("unknown_s", "Time whose energy was not known, in no figure", "s"),
        _required_number("idle_w", "Idle power as learned at the end, all devices", "W"),
        _required_number("true_idle_w", "Idle power as it is, all devices", "W"),
        count("machine_sockets", "Processor packages", required=True),
        count("machine_cores", "Logical CPUs of a package", required=True),
        _required_number("machine_idle_w", "Power of a package that sleeps", "W"),
        _required_number("machine_wake_w", "What a package draws more once any core works", "W"),
        _required_number(
            "machine_core_w", "Dynamic power of a core on ordinary code, at base frequency", "W"
        ),
        _required_number(
            "machine_turbo_ratio", "Frequency of a lone core over that of all together", "1"
        ),
        _required_number(
            "machine_frequency_power", "Dynamic power grows as the frequency to this power", "1"
        ),
        _required_number("machine_limit_w", "A package is throttled to this power", "W"),
        _required_number("machine_leakage_w_per_k", "What a package leaks more per kelvin", "W/K"),
        _required_number("machine_kelvin_per_w", "Thermal resistance of a package to air", "K/W"),
        _required_number("machine_thermal_s", "Time constant of a package's temperature", "s"),
        _required_number("machine_dram_idle_w", "Power of a package's memory at rest", "W"),
        _required_number(
            "machine_dram_w", "Power of memory traffic of a core of ordinary code", "W"
        ),
        _required_number(
            "machine_noise_ratio",
            "Standard deviation of power that no load explains, over the active power",
            "1",
        ),
        _required_number("machine_noise_s", "How long such a deviation lasts", "s"),
        _required_number(
            "machine_gpu_idle_w", "Power of the accelerator at rest; 0: there is none", "W"
        ),
        _required_number("machine_gpu_w", "What the accelerator draws more at full load", "W"),
    ),
)

SUMMARY = Table(
    name="summary",
    description="One row per scenario and formula: error, bias, coverage, width. Errors are of a"
    " consumer's energy in a window, over the truth; intervals of figures are bootstraps over"
    " nodes.",
    columns=(
        text("scenario", "Scenario", required=True),
        text("provenance", "`simulated`: no machine was measured", required=True),
        text("formula", "Formula", required=True),
        text("claim", "What the formula tells, see scores", required=True),
        count("scores", "Rows of scores that the figures are of", required=True),
        count("nodes", "Simulated nodes that they are of", required=True),
        *interval("mape", "_ratio", "Mean of the absolute errors", "1"),
        number("bias_ratio", "Mean of the signed errors", "1"),
        *interval("coverage", "_ratio", "How often the 95 % interval holds the truth", "1"),
        number("half_width_ratio", "Median half-width of the interval, over the value", "1"),
    ),
)

TABLES = (SCORES, NODES, SUMMARY)
"""Every table of an energy validation."""
