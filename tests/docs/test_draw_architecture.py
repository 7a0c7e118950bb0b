"""The picture of the rooms: what it shows, where it stands, and that the committed one is the present one."""

from xml.etree import ElementTree

import draw_architecture as drawing
import pytest
from draw_architecture import Box, draw, draw_arrow, find_arrows, list_files, place_everything, wrap_names
from import_graph import ROOMS, build_graph, read_sources


def test_the_committed_picture_is_what_the_script_draws() -> None:
    committed = drawing.PICTURE.read_text(encoding="utf-8")
    assert committed == draw(read_sources()), "the imports or the files changed: python docs/draw_architecture.py"


def test_the_picture_is_xml_and_loads_nothing() -> None:
    text = draw(read_sources())
    ElementTree.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    for word in ("@import", "@font-face", "<image", "href", "<script"):
        assert word not in text


def test_files_stand_in_their_room_and_folders_have_a_slash() -> None:
    modules = [
        "g2rpo_env",
        "g2rpo_env.errors",
        "g2rpo_env.agents",
        "g2rpo_env.agents.grpo",
        "g2rpo_env.agents.rollout",
        "g2rpo_env.agents.parts",
        "g2rpo_env.agents.parts.losses",
        "g2rpo_env.agents.parts.losses.surrogate",
        "g2rpo_env.agents.parts.protocols",
        "g2rpo_env.__main__",
    ]
    files = {room: names for room, names in list_files(modules).items() if names}
    assert files == {
        "ground": ["errors"],
        "training": ["grpo"],
        "rollouts": ["rollout"],
        "parts": ["protocols", "losses/"],
        "cli": ["__main__"],
    }


def test_arrows_that_follow_from_others_and_forbidden_ones_are_left_out() -> None:
    sources = {
        "g2rpo_env.errors": "import g2rpo_env.core",  # upwards
        "g2rpo_env.core": "import g2rpo_env.errors, g2rpo_env.reveal.plan",
        "g2rpo_env.reveal.plan": "import g2rpo_env.errors",
        "g2rpo_env.agents.grpo": "import g2rpo_env.core",
        "g2rpo_env.report.plots": "import g2rpo_env.agents.grpo, g2rpo_env.core",
        "g2rpo_env.cli.app": "import g2rpo_env.report.plots, g2rpo_env.agents.grpo",
    }
    assert find_arrows(build_graph(sources)) == [
        ("agents", "core"),
        ("cli", "report"),
        ("environments", "reveal"),
        ("report", "agents"),
        ("reveal", "ground"),
    ]


def test_names_are_wrapped_and_none_is_lost() -> None:
    assert wrap_names(["aa", "bb", "cc"], 6) == ("aa  bb", "cc")
    assert wrap_names(["a_name_that_is_too_long", "b"], 6) == ("a_name_that_is_too_long", "b")
    assert wrap_names([], 6) == ("",)


def test_every_room_has_its_place_inside_its_group_and_none_covers_another() -> None:
    frames, boxes = place_everything(list_files(sorted(read_sources())))
    rooms = {room.name: room.group for room in ROOMS if "public" not in room.name}
    assert set(boxes) == set(rooms)
    for name, box in boxes.items():
        frame = frames[rooms[name]]
        assert frame.left < box.left and box.right < frame.right and frame.top < box.top and box.bottom < frame.bottom
    for placed in (list(boxes.values()), list(frames.values())):
        for one in placed:
            for other in placed:
                beside = one.right <= other.left or other.right <= one.left
                assert one is other or beside or one.bottom <= other.top or other.bottom <= one.top


def test_an_arrow_ends_before_its_target_and_never_points_up() -> None:
    above, below = Box("above", 0, 0, 100, 10), Box("below", 50, 50, 100, 10)
    assert 'd="M75.0 10.0C75.0 30.0 75.0 30.0 75.0 44.0"' in draw_arrow(above, below)  # 75: the middle of 50 to 100
    with pytest.raises(ValueError, match="below imports above and stands below it"):
        draw_arrow(below, above)


def test_an_arrow_between_boxes_side_by_side_joins_the_corners_that_face_each_other() -> None:
    left, right = Box("left", 0, 0, 100, 10), Box("right", 200, 50, 100, 10)
    assert 'd="M100.0 10.0C100.0 30.0 200.0 30.0 200.0 44.0"' in draw_arrow(left, right)
    left, right = Box("left", 0, 50, 100, 10), Box("right", 200, 0, 100, 10)
    assert 'd="M200.0 10.0C200.0 30.0 100.0 30.0 100.0 44.0"' in draw_arrow(right, left)


def test_a_room_without_a_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drawing.PLACES, "envs", [[("policy", 0, 12)]])
    with pytest.raises(ValueError, match="PLACES lacks the rooms tasks"):
        draw(read_sources())
