"""Generated streets: the same bytes each time, truth where the pixels are, as hard as said."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from joulery.campaigns.scenarios.video_analytics import clips, scenes
from joulery.campaigns.scenarios.video_analytics.scenes import DIFFICULTIES, SHAPE, Street
from joulery.campaigns.scenarios.video_analytics.sprites import PERSONS, scaled
from joulery.campaigns.scenarios.video_analytics.targets import CELL_PX, maps_of

GOLDEN = {
    "easy": "175b1dfeabe3cb62",
    "normal": "541f0c4c25944387",
    "hard": "6c23ff0ae036a7a2",
}


def _digest(street: Street, frames: range) -> str:
    digest = hashlib.sha256()
    for index in frames:
        one = street.frame(index)
        truth = one.truth
        for part in (one.pixels, truth.boxes, truth.classes, truth.ids, truth.ignored):
            digest.update(part.tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_a_street_has_the_same_bytes_everywhere(difficulty: str) -> None:
    """Frames and truth of one seed are those of the day they were first drawn."""
    assert _digest(Street(77, difficulty), range(0, 100, 20)) == GOLDEN[difficulty]


def test_a_frame_does_not_need_those_before_it() -> None:
    """A frame drawn alone is the one drawn in order, and another seed is another street."""
    ordered = Street(3, "hard")
    for index in range(10):
        last = ordered.frame(index)
    alone = Street(3, "hard").frame(9)
    assert last.pixels.tobytes() == alone.pixels.tobytes()
    assert Street(4, "hard").frame(9).pixels.tobytes() != alone.pixels.tobytes()


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_truth_is_what_its_documentation_says(difficulty: str) -> None:
    """Boxes lie in the frame, are large enough, show enough; each object stands there once."""
    for seed in range(4):
        for index in (0, 40, 99):
            frame = Street(seed, difficulty).frame(index)
            boxes = frame.truth.boxes
            assert frame.pixels.shape == (*SHAPE, 3)
            assert frame.pixels.dtype == np.uint8
            assert (boxes >= 0).all()
            assert (boxes <= [SHAPE[1], SHAPE[0], SHAPE[1], SHAPE[0]]).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= [4, 8]).all()
            assert (frame.visible_ratios >= scenes.LEAST_VISIBLE_RATIO).all()
            assert (frame.visible_ratios <= 1).all()
            assert len(set(frame.truth.ids.tolist())) == len(boxes)
            assert set(frame.truth.classes.tolist()) <= {scenes.PERSON, scenes.VEHICLE}


def test_boxes_are_where_the_pixels_change() -> None:
    """Without light, lens and noise, a frame differs from the empty street in its boxes alone."""
    street = Street(5, "easy")
    picture = street.frame(30).truth
    empty = street._background
    drawn = _undisturbed(street, 30)
    changed = (drawn != empty).any(axis=2)
    inside = np.zeros(SHAPE, dtype=bool)
    for left, top, right, bottom in np.concatenate([picture.boxes, picture.ignored]).astype(int):
        inside[top : bottom + 1, left:right] = True  # a vehicle's shadow is a row below it
        assert changed[top:bottom, left:right].any()
    obstacles = [thing for thing in street._things if thing.cls is None]
    assert obstacles == []
    assert changed.any()
    assert not changed[~inside].any()


def _undisturbed(street: Street, index: int) -> np.ndarray:
    """Return a frame as it is before the camera sees it."""
    street._seen = lambda picture, index: picture  # type: ignore[method-assign]  # noqa: ARG005
    return street.frame(index).pixels


def test_who_is_hidden_is_not_asked_for() -> None:
    """Objects that something hides move from the truth to the regions that are not judged."""
    asked, ignored = set(), 0
    for index in range(0, 100, 5):
        frame = Street(1, "hard").frame(index)
        asked.add(len(frame.truth.boxes))
        ignored += len(frame.truth.ignored)
    assert ignored > 0
    assert len(asked) > 1


def test_objects_keep_their_number_and_move() -> None:
    """From frame to frame an object keeps its id and class, and goes no farther than it can."""
    street = Street(2, "normal")
    known: dict[int, tuple[np.ndarray, int]] = {}
    moved = 0.0
    for index in range(30):
        truth = street.frame(index).truth
        now = {}
        for box, cls, name in zip(truth.boxes, truth.classes, truth.ids, strict=True):
            now[int(name)] = (box, int(cls))
            if int(name) in known:
                before, was = known[int(name)]
                assert was == int(cls)
                step = float(np.abs(box - before).max())
                moved = max(moved, step)
                assert step <= 0.1 * 7.0 * 0.38 * SHAPE[0] + 2  # 7 m/s, at the lowest row
        known = now
    assert moved > 0


def test_levels_get_harder() -> None:
    """More to find, smaller, and more that is hidden, from level to level; noise grows too."""
    counts, heights, noise = [], [], []
    for level in DIFFICULTIES:
        frames = [Street(seed, level).frame(50) for seed in range(20)]
        counts.append(np.mean([len(one.truth.boxes) for one in frames]))
        sides = [one.truth.boxes[one.truth.classes == scenes.PERSON] for one in frames]
        boxes = np.concatenate(sides)
        heights.append(np.median(boxes[:, 3] - boxes[:, 1]))
        first, second = (Street(9, level).frame(i).pixels[:6].astype(int) for i in (10, 11))
        noise.append(np.abs(first - second).mean())
    assert counts == sorted(counts)
    assert heights == sorted(heights, reverse=True)
    assert noise == sorted(noise)


def test_streets_of_different_use_never_meet() -> None:
    """No street that models are judged on is one that they are trained or settled on."""
    groups = [
        {(street._seed, street._number) for street in streets}
        for streets in (
            clips.training_streets(),
            clips.settling_streets(),
            clips.judged_streets(),
        )
    ]
    assert len(set.union(*groups)) == sum(map(len, groups))


def test_a_scaled_sprite_keeps_its_parts() -> None:
    """A sprite of another size has the same parts; mirrored, its columns are reversed."""
    parts = PERSONS[1][0]
    large = scaled(parts, 96, 40, mirrored=False)
    assert large.shape == (96, 40)
    assert set(np.unique(large)) == set(np.unique(parts))
    mirrored = scaled(parts, *parts.shape, mirrored=True)
    np.testing.assert_array_equal(mirrored, parts[:, ::-1])


def test_targets_peak_at_centres() -> None:
    """Each object has one cell of 1 on its class's hill, and that cell learns the object's box."""
    for seed in range(5):
        truth = Street(seed, "normal").frame(20).truth
        hills, boxes, weights, judged = maps_of(truth, SHAPE)
        centres = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2 / CELL_PX
        cells = {
            (int(cls), int(y), int(x)) for (x, y), cls in zip(centres, truth.classes, strict=True)
        }
        assert {tuple(cell) for cell in np.argwhere(hills == 1).tolist()} == cells
        assert weights.sum() <= len(truth.boxes) + 1e-4
        owners = {tuple((box / CELL_PX).tolist()) for box in truth.boxes}
        for cell in np.argwhere(weights > 0):
            assert tuple(boxes[:, cell[0], cell[1]].tolist()) in owners
        assert set(np.unique(judged)) <= {0.0, 1.0}
