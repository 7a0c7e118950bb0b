"""Draw docs/images/architecture.svg: the rooms of the library, and who imports whom, from the code's own imports.

python docs/draw_architecture.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from import_graph import ROOMS, build_graph, find_reachable, get_room, is_upward, read_sources

PICTURE = Path(__file__).resolve().parent / "images" / "architecture.svg"

WIDTH, MARGIN, COLUMNS = 940, 14, 12
LINE, PADDING, GAP, HEADER = 17, 10, 24, 34
LETTER, TITLE_LETTER = 7.0, 9.4  # widths of one letter of a file name and of a title, in the widest of the fonts

GROUPS = {
    "tools": "tools: may import everything below",
    "agents": "agents/: g2rpo_env.agents, all that needs torch",
    "envs": "envs/: g2rpo_env.envs",
    "core": "g2rpo_env/, the core: numpy and gymnasium only",
}
NOTE = (
    "An arrow leads from the one who imports to the one who is imported. Arrows that follow from others are left out."
)
BANDS = [{"tools": (0, 12)}, {"agents": (0, 8), "envs": (8, 12)}, {"core": (0, 12)}]
"""Groups from top to bottom, with the columns where each begins and ends; those of one band do not know each other."""

PLACES = {
    "tools": [[("cli", 0, 12)], [("study", 0, 6), ("bench", 6, 12)], [("experiments", 0, 8)], [("report", 0, 8)]],
    "agents": [
        [("recipes", 0, 6), ("adapters", 6, 12)],
        [("training", 0, 12)],
        [("parts", 0, 12)],
        [("rollouts", 0, 12)],
        [("policy", 0, 12)],
    ],
    "envs": [[("tasks", 0, 12)]],
    "core": [
        [("checks", 0, 12)],
        [("environments", 0, 12)],
        [("sources", 0, 12)],
        [("controllers", 0, 12)],
        [("reveal", 0, 12)],
        [("ground", 0, 12)],
    ],
}
"""Rows of rooms in each group, from top to bottom, with the columns of the group where a room begins and ends."""

STYLE = """
text { font-family: system-ui, "DejaVu Sans", sans-serif; fill: #1c1f24 }
.title { font-size: 14px; font-weight: 600 } .group, .note { font-size: 12.5px; fill: #4a4f58 }
.files { font-size: 11.5px; font-family: ui-monospace, "DejaVu Sans Mono", monospace; fill: #4a4f58 }
.arrow { fill: none; stroke: #4a4f58; stroke-width: 1.5 } .head { fill: #4a4f58 }
.paper { fill: #ffffff } .room { fill: #ffffff; stroke: #8a8f99 }
.tools { fill: #f1f1f4; stroke: #c9c9d2 } .agents { fill: #fdf1e3; stroke: #e8c795 }
.envs { fill: #e9f6ec; stroke: #a9d5b5 } .core { fill: #e8f1fb; stroke: #a5c6ea }
@media (prefers-color-scheme: dark) {
text { fill: #eceef2 } .files, .group, .note { fill: #c3c8d1 } .arrow { stroke: #c3c8d1 } .head { fill: #c3c8d1 }
.paper { fill: #14171c } .room { fill: #14171c; stroke: #7d838f }
.tools { fill: #23262d; stroke: #4b505b } .agents { fill: #33271a; stroke: #7a5c33 }
.envs { fill: #1a2e20; stroke: #3f6b4c } .core { fill: #182839; stroke: #3c5f86 }
}"""


@dataclass(frozen=True)
class Box:
    """A rectangle of the picture; a room's holds lines of file names."""

    name: str
    left: float
    top: float
    width: float
    height: float
    lines: tuple[str, ...] = ()

    @property
    def right(self) -> float:
        """Where the box ends."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Where the box ends."""
        return self.top + self.height


# -- what is drawn ----------------------------------------------------------------------------------------------------


def list_files(modules: list[str]) -> dict[str, list[str]]:
    """Return by room the names of its files, and of the folders inside it with a slash."""
    files: dict[str, list[str]] = {room.name: [] for room in ROOMS}
    for module in modules:
        if any(other.startswith(f"{module}.") for other in modules):
            continue  # a package: its own file holds nothing but names
        room, name = get_room(module), module.removeprefix("g2rpo_env.")
        folders = [pattern[:-1] for pattern in room.modules if pattern.endswith("*") and name.startswith(pattern[:-1])]
        short = name.removeprefix(folders[0]) if folders else name.rpartition(".")[2]
        first, dot, _ = short.partition(".")
        if first + "/" * bool(dot) not in files[room.name]:
            files[room.name].append(first + "/" * bool(dot))
    return {room: sorted(names, key=lambda name: (name.endswith("/"), name)) for room, names in files.items()}


def find_arrows(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return who imports whom, without the arrows that follow from others: rooms of a group, and rooms and groups."""
    arrows: dict[str, set[str]] = {}
    for source, targets in graph.items():
        for target in targets:
            here, there = get_room(source), get_room(target)
            if is_upward(source, target):
                continue  # import_graph.py reports it
            if here.group == there.group and "public" not in here.name:
                pair = here.name, there.name
            else:  # only the tools have no frame of their own
                pair = here.name if here.group == "tools" else here.group, there.group
            if pair[0] != pair[1]:
                arrows.setdefault(pair[0], set()).add(pair[1])
                arrows.setdefault(pair[1], set())
    reachable = find_reachable(arrows)
    return sorted(
        (source, target)
        for source, targets in arrows.items()
        for target in targets
        if not any(target in reachable[between] for between in targets - {target})
    )


# -- where it stands --------------------------------------------------------------------------------------------------


def wrap_names(names: list[str], letters: int) -> tuple[str, ...]:
    """Return names in lines of so many letters at most."""
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + 2 + len(name) > letters:
            lines.append("")
        lines[-1] += f"  {name}" if lines[-1] else name
    return tuple(lines)


def span_columns(begin: int, end: int, left: float, width: float, between: float) -> tuple[float, float]:
    """Return left edge and width of some columns of a frame, ``between`` two neighbours left free."""
    column = (width + between) / COLUMNS
    return left + begin * column, (end - begin) * column - between


def place_row(row: list[tuple[str, int, int]], frame: Box, top: float, files: dict[str, list[str]]) -> list[Box]:
    """Return the boxes of a row inside a frame, all as high as the one with most lines."""
    boxes = []
    for name, begin, end in row:
        left, width = span_columns(begin, end, frame.left + MARGIN, frame.width - 2 * MARGIN, MARGIN)
        letters = int((width - 2 * PADDING - TITLE_LETTER * (len(name) + 1)) / LETTER)
        boxes.append(Box(name, left, top, width, 0, wrap_names(files[name], letters)))
    height = 2 * PADDING + LINE * max(len(box.lines) for box in boxes)
    return [replace(box, height=height) for box in boxes]


def place_group(group: str, frame: Box, files: dict[str, list[str]]) -> list[Box]:
    """Return the boxes of a group, row below row."""
    boxes: list[Box] = []
    top = frame.top + HEADER
    for row in PLACES[group]:
        boxes += place_row(row, frame, top, files)
        top = boxes[-1].bottom + GAP
    return boxes


def place_everything(files: dict[str, list[str]]) -> tuple[dict[str, Box], dict[str, Box]]:
    """Return the frames of the groups and the boxes of the rooms, by name."""
    frames: dict[str, Box] = {}
    boxes: dict[str, Box] = {}
    top: float = MARGIN
    for band in BANDS:
        for group, (begin, end) in band.items():
            left, width = span_columns(begin, end, MARGIN, WIDTH - 2 * MARGIN, MARGIN)
            frame = Box(group, left, top, width, 0)
            placed = place_group(group, frame, files)
            frames[group] = replace(frame, height=placed[-1].bottom + MARGIN - top)
            boxes |= {box.name: box for box in placed}
        top = max(frame.bottom for frame in frames.values()) + GAP
    return frames, boxes


# -- how it is written ------------------------------------------------------------------------------------------------


def draw_rectangle(kind: str, box: Box, radius: int) -> str:
    """Return a rectangle with round corners, coloured by its kind."""
    size = f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius}"'
    return f'<rect class="{kind}" x="{box.left:.1f}" y="{box.top:.1f}" {size}/>'


def draw_text(kind: str, left: float, base: float, text: str) -> str:
    """Return a line of text; blanks between names are kept."""
    return f'<text class="{kind}" xml:space="preserve" x="{left:.1f}" y="{base:.1f}">{escape(text)}</text>'


def draw_room(box: Box) -> Iterator[str]:
    """Yield a room: its title, and its files beside the title."""
    left, base = box.left + PADDING, box.top + PADDING + 13
    yield draw_rectangle("room", box, 5)
    yield draw_text("title", left, base, box.name)
    left += TITLE_LETTER * (len(box.name) + 1)
    for number, line in enumerate(box.lines):
        yield draw_text("files", left, base + LINE * number, line)


def draw_arrow(source: Box, target: Box) -> str:
    """Return an arrow from the lower edge of one box to the upper edge of another, straight down where they overlap.

    Raises:
        ValueError: the arrow would point upwards; :data:`PLACES` has the rooms in the wrong order.
    """
    if source.bottom > target.top:
        raise ValueError(f"{source.name} imports {target.name} and stands below it: reorder PLACES")
    left, right = max(source.left, target.left), min(source.right, target.right)
    begin = end = (left + right) / 2
    if left > right:  # side by side: from the corner of one to the corner of the other that faces it
        begin, end = sorted((left, right), reverse=source.left > target.left)
    middle, tip = (source.bottom + target.top) / 2, target.top - 6
    path = f"M{begin:.1f} {source.bottom:.1f}C{begin:.1f} {middle:.1f} {end:.1f} {middle:.1f} {end:.1f} {tip:.1f}"
    return f'<path class="arrow" marker-end="url(#head)" d="{path}"/>'


def draw(sources: dict[str, str]) -> str:
    """Return the picture as SVG.

    Args:
        sources: The text of every module by its name.

    Raises:
        ValueError: a room has no place in :data:`PLACES`.
    """
    files = list_files(sorted(sources))
    frames, boxes = place_everything(files)
    missing = {room.name for room in ROOMS if "public" not in room.name} - set(boxes)
    if missing:
        raise ValueError(f"PLACES lacks the rooms {', '.join(sorted(missing))}")
    height = max(frame.bottom for frame in frames.values()) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}">',
        f"<title>The rooms of g2rpo-env and who imports whom</title><style>{STYLE}</style>",
        '<defs><marker id="head" markerWidth="9" markerHeight="8" refX="2" refY="4" orient="auto" '
        'markerUnits="userSpaceOnUse"><path class="head" d="M0 0L9 4L0 8z"/></marker></defs>',
        draw_rectangle("paper", Box("", 0, 0, WIDTH, height), 8),
    ]
    for name, frame in frames.items():
        parts.append(draw_rectangle(name, frame, 8))
        parts.append(draw_text("group", frame.left + MARGIN, frame.top + 22, GROUPS[name]))
    ends = {**frames, **boxes}
    parts += [draw_arrow(ends[source], ends[target]) for source, target in find_arrows(build_graph(sources))]
    parts += [line for box in boxes.values() for line in draw_room(box)]
    parts.append(draw_text("note", MARGIN, height - 10, NOTE))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(read_sources()), encoding="utf-8")
    print(f"wrote {PICTURE}")
