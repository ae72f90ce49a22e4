"""What the log says of each reason that `joulery_exporter_problems_total` counts."""

from __future__ import annotations

__all__ = ["explained"]

_TEXTS = {
    "name_unknown": "pods without a log folder have no name, only their UID; --pod-logs names "
    "where the kubelet keeps such folders",
    "pod_log_unparsed": "a log folder of pods has a name that tells no pod",
    "container_log_unparsed": "a link among the logs of containers has a name that tells none",
    "pod_group_unparsed": "a control group beside those of pods has a name that tells no pod; its "
    "work counts as the system's",
    "cgroup_search_cut": "there are too many control groups to search them all for pods",
    "groups_too_many": "there are more pods in one control group than are looked at",
    "process_forbidden": "processes on a GPU may not be looked up; their work is the system's",
}
_FOLDERS = {
    "pod_logs": "the folder of pods' logs (--pod-logs)",
    "container_logs": "the folder of containers' logs (--container-logs)",
    "cgroup": "a control group (--cgroupfs)",
}
_STATES = {
    "missing": "is not there",
    "forbidden": "may not be read",
    "failed": "could not be read",
    "too_many": "holds more than is looked at",
}


def explained(reason: str) -> str:
    """Return a sentence for people about a reason."""
    if reason in _TEXTS:
        return _TEXTS[reason]
    for folder, what in _FOLDERS.items():
        state = _STATES.get(reason.removeprefix(f"{folder}_"))
        if state is not None:
            return f"{what} {state}"
    if reason.startswith("pod_resources: "):
        return (
            "the kubelet does not tell who has which accelerator (--pod-resources): "
            + reason.removeprefix("pod_resources: ")
        )
    return f"{reason}; what it did meanwhile is in no pod's energy"
