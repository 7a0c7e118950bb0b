"""Write g2rpo_env/study/rates.py from results of ``g2rpo-env study recipe-rates``: ``python docs/write_rates.py``."""

from __future__ import annotations

from pathlib import Path

from g2rpo_env.study.archive import read_lines
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import FORMS
from g2rpo_env.study.recipes import choose_rates, make_trial_parts

DATA = Path(__file__).parent / "results" / "recipe-rates.jsonl"
MODULE = Path(__file__).parents[1] / "g2rpo_env" / "study" / "rates.py"

HEAD = '''"""Learning rates of the table of all recipes, chosen on the trial seed by ``g2rpo-env study recipe-rates``.

Written by ``python docs/write_rates.py`` from docs/results/recipe-rates.jsonl.
"""

from __future__ import annotations

from collections.abc import Mapping

RATES: Mapping[str, Mapping[str, float]] = {
'''


def write_module() -> str:
    """Return the module's text; rows whose rates are not all tried yet are left out."""
    results = read_lines(DATA)
    lines = [HEAD]
    for part in make_trial_parts(FORMS["default"]):
        found = Found(part, results)
        done = {
            label for label in {row.series for row in part.rows} if all(found.of(r.label) for r in found.series(label))
        }
        chosen = {label: rate for label, rate in choose_rates(found).items() if label in done}
        if chosen:
            lines.append(f'    "{part.ground.name}": {{\n')
            lines += [f'        "{label}": {rate:g},\n' for label, rate in chosen.items()]
            lines.append("    },\n")
    lines.append('}\n"""Part of the table -> label of a row -> learning rate."""\n')
    return "".join(lines)


if __name__ == "__main__":
    MODULE.write_text(write_module(), encoding="utf-8")
