"""Pictures: every panel draws, finished or not, and what is written is a small PNG."""

import pytest
from made import results

from g2rpo_env.study.claims import CLAIMS
from g2rpo_env.study.found import Found
from g2rpo_env.study.pictures import PANELS, draw


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_the_picture_of_every_claim(claim, scale, tmp_path):
    for part in claim.parts(scale):
        made = results([part], lambda label: 0.5)
        path = draw(claim, Found(part, made), tmp_path / "a.png")
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 200_000
        some = dict(list(made.items())[::3])
        draw(claim, Found(part, some), tmp_path / "b.png")


def test_every_panel_is_used_and_known():
    assert {name for claim in CLAIMS for name in claim.plots} == set(PANELS)
