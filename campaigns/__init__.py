"""Run trials: specification, design, load, executors, verdicts, journal, report."""
