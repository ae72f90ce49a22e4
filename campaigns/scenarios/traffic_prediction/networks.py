"""The networks with exits that the scenario offers, and those of a user's own data.

Here is what they are called; `network` is how they are made, and needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..base import NETWORK_PRECISIONS, SMALLEST_PRECISIONS, ModelFamily
from ..fitted import check_torch, fitted_folder
from ..series import Table
from .split import training_part

__all__ = ["NETWORKS", "OwnNetworks"]

NETWORKS = tuple(
    ModelFamily(name=name, title=title, precisions=precisions, exits=3)
    for name, title, precisions in (
        ("tcn_s", "Temporal convolution network, small", SMALLEST_PRECISIONS),
        ("tcn_m", "Temporal convolution network, medium", NETWORK_PRECISIONS),
        ("tcn_l", "Temporal convolution network, large", NETWORK_PRECISIONS),
        (
            "tcn_pruned",
            "Temporal convolution network, pruned from large to medium",
            NETWORK_PRECISIONS,
        ),
    )
)


class OwnNetworks:
    """Networks for a user's series, each fitted when it is first asked for.

    Args:
        work: A folder for models.
        key: Hexadecimal, another for other series.
        table: The series.
    """

    def __init__(self, work: Path, key: str, table: Table) -> None:
        self._work, self._key, self._table = work, key, table

    def folder(self, model: str) -> Path:
        """Return the folder with one network in every precision.

        Raises:
            SpecError: When it is not fitted yet and there is no PyTorch.
        """
        name = f"traffic_prediction-networks-{model}"
        return fitted_folder(self._work, name, self._key, lambda: self._fit(model))

    def _fit(self, model: str) -> Mapping[tuple[str, str], object]:
        check_torch(
            f"model {model} for {self._table.path.name}",
            remedy="pip install 'joulery[train]', or use another model",
        )
        # Imported here: only fitting needs PyTorch.
        from .network import SIZES, fit_networks

        [wanted] = [size for size in SIZES if size.name == model]
        sizes = [size for size in SIZES if size.name in (wanted.pruned_from, model)]
        models = fit_networks(training_part(self._table.values), self._table.sha256, sizes=sizes)
        return {key: found for key, found in models.items() if key[0] == model}
