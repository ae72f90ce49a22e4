"""Traffic matrices in SNDlib's XML: series of them, and what is wrong with broken ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from joulery.campaigns.scenarios.traffic_prediction import TrafficPrediction
from joulery.campaigns.scenarios.traffic_prediction.loaders import load
from joulery.campaigns.scenarios.traffic_prediction.sndlib import read_matrices
from joulery.errors import DatasetError

START = datetime(2004, 3, 1, tzinfo=UTC)
PAIRS = ("ATLAng_CHINng", "CHINng_ATLAng", "ATLAng_DNVRng")


def _demands(values: dict[str, object], time: str | None = None) -> str:
    """Return a matrix in the format that SNDlib documents, namespace included."""
    meta = f"<meta><granularity>5min</granularity><time>{time}</time></meta>" if time else ""
    demands = "".join(
        f' <demand id="{pair}">\n  <source>{pair.split("_")[0]}</source>\n'
        f"  <target>{pair.split('_')[1]}</target>\n"
        f"  <demandValue> {value} </demandValue>\n </demand>\n"
        for pair, value in values.items()
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
        f'<network xmlns="http://sndlib.zib.de/network" version="1.0">{meta}'
        '<networkStructure><nodes coordinatesType="geographical"><node id="ATLAng"/></nodes>'
        f"</networkStructure><demands>\n{demands}</demands></network>"
    )


def _name(step: int) -> str:
    time = START + timedelta(minutes=5 * step)
    return f"demandMatrix-abilene-zhang-5min-{time:%Y%m%d-%H%M}.xml"


def _folder(folder: Path, values: np.ndarray) -> Path:
    """Write a matrix a row, its demands in the order of `PAIRS`; of zero ones nothing."""
    folder.mkdir()
    for step, row in enumerate(values):
        listed = {pair: value for pair, value in zip(PAIRS, row, strict=True) if value}
        (folder / _name(step)).write_text(_demands(listed))
    return folder


def _values(rows: int = 1010) -> np.ndarray:
    values = np.random.default_rng(5).uniform(1, 2, size=(rows, 3)).round(6)
    return values * [1, 10, 3]


def test_a_folder_of_matrices_is_a_series_of_their_totals(tmp_path: Path) -> None:
    """Each file is a step; their sum is the series; other files are left alone."""
    values = _values()
    folder = _folder(tmp_path / "abilene", values)
    (folder / "abilene.xml").write_text(_demands({PAIRS[0]: 999}))
    traffic = load(folder)
    assert traffic.table.columns == ("total",)
    np.testing.assert_allclose(traffic.table.values[:, 0], values.sum(axis=1), rtol=1e-12)
    assert traffic.source == "abilene (total)"


def test_demands_are_chosen_by_name_or_size(tmp_path: Path) -> None:
    """A demand by its name, and the largest of the training part, are series too."""
    values = _values()
    values[720:, 0] = 500  # large, but only where nothing may look
    folder = _folder(tmp_path / "abilene", values)
    chosen = load(folder.with_name(f"abilene#{PAIRS[0]},largest-2"))
    assert chosen.table.columns == PAIRS
    assert chosen.table.values[:, 1].tolist() == values[:, 1].tolist()
    with pytest.raises(DatasetError, match="found no demand 'ATLA_CHIN'"):
        load(folder.with_name("abilene#ATLA_CHIN"))


def test_a_pair_that_is_not_listed_has_no_traffic(tmp_path: Path) -> None:
    """In a matrix that leaves a demand out, the demand is zero."""
    values = _values(40)
    values[7, 2] = 0
    table, _ = read_matrices(_folder(tmp_path / "a", values), [PAIRS[2]])
    assert table.values[7, 0] == 0
    assert table.values[8, 0] == values[8, 2]


def test_missing_matrices_repeat_the_one_before(tmp_path: Path) -> None:
    """Times come from the names: a matrix that is not there is a step without a row."""
    values = _values(60)
    folder = _folder(tmp_path / "a", values)
    (folder / _name(30)).unlink()
    table, remark = read_matrices(folder)
    assert table.values[30] == table.values[29] == pytest.approx(values[29].sum())
    assert len(table.values) == 60
    assert remark == "1 missing steps repeat the row before them"


def test_one_file_may_hold_several_matrices(tmp_path: Path) -> None:
    """Several networks in one file are steps in their order; one alone is too short a series."""
    path = tmp_path / "all.xml"
    parts = [
        _demands({PAIRS[0]: step + 1.0}, f"20040301-{step:04d}").partition("?>\n")[2]
        for step in range(5)
    ]
    path.write_text(f"<networks>{''.join(parts)}</networks>")
    table, _ = read_matrices(path)
    assert table.values[:, 0].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(DatasetError, match="found 5 traffic matrices, expected at least 1000 rows"):
        load(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_demands({PAIRS[0]: 1.0})[:-30], "expected a complete XML file"),
        (_demands({}), "found no demands"),
        (_demands({PAIRS[0]: "NaN"}), "demand 'ATLAng_CHINng': found demandValue 'NaN'"),
        (_demands({PAIRS[0]: ""}), "found demandValue ''"),
        (_demands({PAIRS[0]: -1}), "expected a number from 0 to 1e+18"),
        (_demands({PAIRS[0]: "1e300"}), "found demandValue '1e300'"),
        (_demands({}).replace("ISO-8859-1", "nothing"), "found unknown encoding: nothing"),
        (_demands({}).replace("ISO-8859-1", "shift_jis"), "found multi-byte encodings"),
    ],
)
def test_broken_matrices_are_refused(tmp_path: Path, content: str, says: str) -> None:
    """A file that is cut short, empty of demands, or holds no numbers is named."""
    folder = _folder(tmp_path / "a", _values(3))
    (folder / _name(1)).write_text(content)
    with pytest.raises(DatasetError) as caught:
        read_matrices(folder)
    assert says in str(caught.value)
    assert _name(1) in str(caught.value)


def test_folders_without_matrices_and_matrices_without_times_are_refused(tmp_path: Path) -> None:
    """An empty folder is no data; among matrices with times, one without has no place."""
    with pytest.raises(DatasetError, match=r"a directory without \.xml files"):
        TrafficPrediction().prepare(tmp_path, tmp_path / "work")
    folder = _folder(tmp_path / "a", _values(3))
    (folder / "demandMatrix-late.xml").write_text(_demands({PAIRS[0]: 1.0}))
    with pytest.raises(DatasetError, match="found no time"):
        read_matrices(folder)
