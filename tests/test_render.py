"""Contexts as people see them: marks, colours, frames; nothing a policy samples drives the terminal."""

import io
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import g2rpo_env
from g2rpo_env import Role, TokenEnv, render
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.render import colored_text, escape, frame, glyph, marked_text, role_runs, show, wrap
from g2rpo_env.tokenizer import char_tokenizer, encode

TOKENIZER = char_tokenizer()
EOS = TOKENIZER.eos_token_id
SHAPE = (528, 800, 3)

needs_pillow = pytest.mark.skipif(find_spec("PIL") is None, reason="Pillow is missing: pip install 'g2rpo-env[video]'")


def context(*runs: tuple[Role, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens_T and role_T of texts by role."""
    pieces = [encode(TOKENIZER, text)[0] for _, text in runs]
    roles = [np.full(len(piece), role, np.int8) for piece, (role, _) in zip(pieces, runs, strict=True)]
    return np.concatenate([np.zeros(0, np.int32), *pieces]), np.concatenate([np.zeros(0, np.int8), *roles])


FOUR = context((Role.PROMPT, "58+67="), (Role.REVEALED, "8+7"), (Role.ENVIRONMENT, "?"), (Role.SAMPLED, "xy"))
NOTHING = context()


def fake_terminal(monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> io.BytesIO:
    """Make standard output a terminal; return what is written to it."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, newline="\n", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return written


# -- marked text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "runs,text",
    [
        ([], ""),
        ([(Role.PROMPT, "1+2=")], "1+2="),
        ([(Role.PROMPT, "1+2="), (Role.SAMPLED, "3")], "1+2=3"),
        ([(Role.PROMPT, "1+2="), (Role.REVEALED, "1\n"), (Role.SAMPLED, "3")], "1+2=[1\n]3"),
        ([(Role.SAMPLED, "a"), (Role.ENVIRONMENT, "no"), (Role.SAMPLED, "b")], "a{no}b"),
        ([(Role.REVEALED, "a"), (Role.REVEALED, "b"), (Role.ENVIRONMENT, "c")], "[ab]{c}"),
    ],
)
def test_marks_by_hand(runs: list[tuple[Role, str]], text: str) -> None:
    assert marked_text(TOKENIZER, *context(*runs)) == text


def test_an_end_token_is_shown_by_name() -> None:
    tokens_T, role_T = np.array([*FOUR[0], EOS]), np.array([*FOUR[1], Role.SAMPLED])
    assert marked_text(TOKENIZER, tokens_T, role_T) == "58+67=[8+7]{?}xy<eos>"


def test_marks_of_an_environment() -> None:
    env = TokenEnv(Addition(digits=2))
    env.reset(options={"problem": "58+67", "prefix": FOUR[0][:-1], "prefix_roles": FOUR[1][:-1]})
    env.step(FOUR[0][-1])
    assert marked_text(env.tokenizer, env.context, env.roles) == "58+67=[8+7]{?}xy"


def test_runs_are_roles_with_their_text() -> None:
    assert list(role_runs(TOKENIZER, *FOUR)) == [
        (Role.PROMPT, "58+67="), (Role.REVEALED, "8+7"), (Role.ENVIRONMENT, "?"), (Role.SAMPLED, "xy")
    ]  # fmt: skip
    assert list(role_runs(TOKENIZER, *NOTHING)) == []


# -- coloured text ----------------------------------------------------------------------------------------------------

COLORED = "\x1b[2m58+67=\x1b[0m\x1b[32m8+7\x1b[0m\x1b[33m?\x1b[0m\x1b[36mxy\x1b[0m"


def test_colours_by_hand() -> None:
    assert colored_text(TOKENIZER, *FOUR, color=True) == COLORED
    assert colored_text(TOKENIZER, *FOUR, color=False) == "58+67=[8+7]{?}xy"
    assert colored_text(TOKENIZER, *NOTHING, color=True) == ""


def test_every_role_has_a_colour_of_its_own() -> None:
    colors = [render.COLORS[role] for role in Role]
    assert len({color.ansi for color in colors}) == len({color.rgb for color in colors}) == len(Role)


def test_a_terminal_gets_colours_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_terminal(monkeypatch)
    assert colored_text(TOKENIZER, *FOUR) == COLORED
    monkeypatch.setenv("NO_COLOR", "")  # the convention: empty means unset
    assert colored_text(TOKENIZER, *FOUR) == COLORED
    monkeypatch.setenv("NO_COLOR", "1")
    assert colored_text(TOKENIZER, *FOUR) == "58+67=[8+7]{?}xy"


def test_what_is_no_terminal_gets_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert colored_text(TOKENIZER, *FOUR) == "58+67=[8+7]{?}xy"
    show(TOKENIZER, *FOUR)
    assert sys.stdout.getvalue() == "58+67=[8+7]{?}xy\n"


@pytest.mark.parametrize("color", [True, False])
def test_control_characters_are_written_out(color: bool) -> None:
    sampled = "a\x1b[2J\x07\r\x00\x7f\x9b1m\tb\n"
    text = colored_text(TOKENIZER, *context((Role.SAMPLED, sampled)), color=color)
    shown = "a\\x1b[2J\\x07\\r\\x00\\x7f\\x9b1m\tb\n"
    assert text == (f"\x1b[36m{shown}\x1b[0m" if color else shown)


def test_escaping_leaves_readable_text_alone() -> None:
    text = "naïve “quotes” ½ π 数学 🙂 \\x1b\n\tok"
    assert escape(text) == text


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 257), st.integers(0, 3)), max_size=30))
def test_no_tokens_reach_the_terminal_as_control_characters(pairs: list[tuple[int, int]]) -> None:
    tokens_T, role_T = np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int8)
    text = colored_text(TOKENIZER, tokens_T, role_T, color=True)
    for code in ["\x1b[0m", *(f"\x1b[{color.ansi}m" for color in render.COLORS.values())]:
        text = text.replace(code, "")
    assert all(char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160) for char in text)
    assert text == escape("".join(run for _, run in role_runs(TOKENIZER, tokens_T, role_T)))


def test_a_character_split_between_roles_shows_as_two_replacements() -> None:
    tokens_T = encode(TOKENIZER, "é")[0]
    assert len(tokens_T) == 2
    role_T = np.array([Role.REVEALED, Role.SAMPLED], np.int8)
    assert marked_text(TOKENIZER, tokens_T, role_T) == "[\ufffd]\ufffd"
    assert colored_text(TOKENIZER, tokens_T, role_T, color=True) == "\x1b[32m\ufffd\x1b[0m\x1b[36m\ufffd\x1b[0m"


def test_show_writes_colours_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = fake_terminal(monkeypatch)
    show(TOKENIZER, *FOUR)
    assert written.getvalue().decode() == COLORED + "\n"


def test_show_writes_out_what_standard_output_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    written = fake_terminal(monkeypatch, encoding="cp1252")
    show(TOKENIZER, *context((Role.SAMPLED, "é→")))
    assert written.getvalue() == b"\x1b[36m\xe9\\u2192\x1b[0m\n"


# -- wrapping ---------------------------------------------------------------------------------------------------------


def lines(text: str) -> list[str]:
    return ["".join(char for char, _ in row) for row in wrap([(Role.SAMPLED, text)])]


@pytest.mark.parametrize(
    "text,rows",
    [
        ("", [""]),
        ("ab\n\ncd", ["ab", "", "cd"]),
        ("x" * 80, ["x" * 80]),
        ("x" * 81, ["x" * 80, "x"]),
        ("x" * 80 + "\n" + "y", ["x" * 80, "y"]),  # a full row and a line break are one break
        ("\ta\r\n", ["    a\\r", ""]),
    ],
)
def test_wrapping_by_hand(text: str, rows: list[str]) -> None:
    assert lines(text) == rows


def test_wrapping_goes_on_through_a_change_of_role() -> None:
    rows = wrap([(Role.PROMPT, "p" * 79), (Role.SAMPLED, "ss")])
    assert [len(row) for row in rows] == [80, 1]
    assert rows[0][78:] == [("p", Role.PROMPT), ("s", Role.SAMPLED)]


# -- frames -----------------------------------------------------------------------------------------------------------


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    return picture[row * 22 : (row + 1) * 22, column * 10 : (column + 1) * 10]


def is_empty(part: np.ndarray) -> bool:
    return bool((part == render.BACKGROUND).all())


@needs_pillow
def test_a_cell_is_its_glyph_in_the_colour_of_its_role() -> None:
    picture = frame(TOKENIZER, *FOUR)
    assert picture.shape == SHAPE and picture.dtype == np.uint8
    for column, (char, role) in enumerate(zip("58+67=8+7?xy", FOUR[1].tolist(), strict=True)):
        ink, color = glyph(char)[..., None], np.array(render.COLORS[Role(role)].rgb)
        expected = ink * color + (1 - ink) * np.array(render.BACKGROUND)
        assert np.abs(cell(picture, 0, column) - expected).max() <= 0.51  # rounded to whole numbers
        assert not is_empty(cell(picture, 0, column))
    assert is_empty(picture[:22, 12 * 10 :]) and is_empty(picture[22 : 23 * 22])


@needs_pillow
def test_the_legend_names_each_role_in_its_colour() -> None:
    legend = "prompt  revealed  sampled  environment"
    picture = frame(TOKENIZER, *NOTHING)
    assert is_empty(picture[: 23 * 22])
    for role in Role:
        begin = legend.index(role.name.lower())
        part = picture[23 * 22 :, begin * 10 : (begin + len(role.name)) * 10].reshape(-1, 3).astype(float)
        # every pixel lies between background and the role's colour
        paper, ink = np.array(render.BACKGROUND), np.array(render.COLORS[role].rgb)
        share = (part - paper) / (ink - paper)
        assert share.max() > 0.7 and np.abs(share - share.mean(axis=1, keepdims=True)).max() < 0.02


@needs_pillow
def test_a_long_text_shows_its_last_rows() -> None:
    numbers = [f"line {n}" for n in range(30)]
    picture = frame(TOKENIZER, *context((Role.SAMPLED, "\n".join(numbers))))
    tail = frame(TOKENIZER, *context((Role.SAMPLED, "\n".join(numbers[-22:]))))
    shorter = frame(TOKENIZER, *context((Role.SAMPLED, "\n".join(numbers[-21:]))))
    assert np.array_equal(picture, tail) and not np.array_equal(picture, shorter)


@needs_pillow
def test_wide_characters_stay_in_their_cell_and_narrow_ones_are_centred() -> None:
    for char in "WM@":
        ink = glyph(char)
        assert ink.shape == (22, 10) and ink.max() > 0.5
    columns = np.flatnonzero(glyph("|").max(axis=0) > 0.2)
    assert 3 <= columns.min() and columns.max() <= 6
    assert not glyph(" ").any()
    with pytest.raises(ValueError, match="read-only"):
        glyph("a")[0, 0] = 1


@needs_pillow
def test_letters_fit_between_the_edges_of_their_cell() -> None:
    for char in map(chr, range(33, 127)):
        ink = glyph(char)
        assert not ink[0].any() and not ink[-1].any(), char


@needs_pillow
def test_characters_without_glyph_and_split_characters_do_not_crash() -> None:
    tokens_T, role_T = context((Role.SAMPLED, "é数🙂\u0300\u200d"))
    role_T[::2] = Role.REVEALED  # every other byte
    assert frame(TOKENIZER, tokens_T, role_T).shape == SHAPE
    assert frame(TOKENIZER, *context((Role.SAMPLED, "é数🙂\u0300\u200d"))).shape == SHAPE


@needs_pillow
@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 257), st.integers(0, 3)), max_size=60))
def test_any_tokens_give_a_frame_of_one_shape(pairs: list[tuple[int, int]]) -> None:
    tokens_T, role_T = np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int8)
    picture = frame(TOKENIZER, tokens_T, role_T)
    assert picture.shape == SHAPE and picture.dtype == np.uint8


@needs_pillow
def test_the_shape_stays_over_an_episode_that_outgrows_the_frame() -> None:
    env = TokenEnv(Addition(digits=2, max_new_tokens=60))
    env.reset(seed=0, options={"reveal": 5})
    pictures = [frame(env.tokenizer, env.context, env.roles)]
    ended = False
    while not ended:
        _, _, terminated, truncated, _ = env.step(encode(TOKENIZER, "\n1")[0][len(pictures) % 2])
        pictures.append(frame(env.tokenizer, env.context, env.roles))
        ended = terminated or truncated
    assert len(pictures) == 61 and {picture.shape for picture in pictures} == {SHAPE}
    assert lines("\n1" * 30)[-22:] != lines("\n1" * 30)  # it did outgrow it
    assert not np.array_equal(pictures[0], pictures[-1])


def test_a_missing_pillow_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    render._pillow.cache_clear()
    glyph.cache_clear()
    with pytest.raises(gym.error.DependencyNotInstalled, match=r"pip install 'g2rpo-env\[video\]'") as caught:
        frame(TOKENIZER, *FOUR)
    assert isinstance(caught.value, g2rpo_env.errors.MissingDependencyError)
    show(TOKENIZER, *FOUR)  # text needs none


# -- videos -----------------------------------------------------------------------------------------------------------


def video_reader() -> Any:
    """Return moviepy's reader of video files, or skip."""
    moviepy = pytest.importorskip("moviepy", reason="moviepy is missing: pip install 'g2rpo-env[video]'")
    return moviepy.VideoFileClip


def test_an_episode_is_recorded_as_a_video(tmp_path: Path) -> None:
    reader = video_reader()
    env = gym.make("g2rpo_env/Addition-v0", digits=2, max_new_tokens=11, render_mode="rgb_array")
    env = gym.wrappers.RecordVideo(g2rpo_env.GuidanceWrapper(env, length=5), str(tmp_path / "videos"))
    env.reset(seed=0)
    ended = False
    while not ended:
        _, _, terminated, truncated, _ = env.step(encode(TOKENIZER, "1")[0][0])
        ended = terminated or truncated
    env.close()
    (path,) = (tmp_path / "videos").glob("*.mp4")
    with reader(str(path)) as clip:
        assert clip.size == [SHAPE[1], SHAPE[0]] and clip.fps == 4
        assert 1 < clip.n_frames <= 12  # the reset and at most one for each token


def test_every_lane_is_recorded(tmp_path: Path) -> None:
    reader = video_reader()
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=2, digits=2, max_new_tokens=5, render_mode="rgb_array")
    envs = gym.wrappers.vector.RecordVideo(envs, str(tmp_path / "videos"), video_aspect_ratio=(1, 1))
    envs.reset(seed=0)
    for _ in range(5):
        envs.step(np.full(2, encode(TOKENIZER, "1")[0][0]))
    envs.close()
    (path,) = (tmp_path / "videos").glob("*.mp4")
    with reader(str(path)) as clip:
        assert clip.size[0] * clip.size[1] >= 2 * SHAPE[0] * SHAPE[1] and clip.fps == 4
