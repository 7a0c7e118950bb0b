"""Write g2rpo_env/study/rates.py from docs/results: ``python docs/write_rates.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from g2rpo_env.study.archive import read_lines
from g2rpo_env.study.contest import make_contest_trials
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import FORMS
from g2rpo_env.study.recipes import choose_rates, make_trial_parts

RESULTS = Path(__file__).parent / "results"
TRIALS = {"recipe-rates": make_trial_parts, "contest-rates": make_contest_trials}
"""Name of a study, whose results are NAME.jsonl -> its parts."""
MODULE = Path(__file__).parents[1] / "g2rpo_env" / "study" / "rates.py"

HEAD = '''"""Learning rates of the tables of recipes, as ``study recipe-rates`` and ``contest-rates`` chose them.

Written by ``python docs/write_rates.py`` from docs/results.
"""

from __future__ import annotations

from collections.abc import Mapping

RATES: Mapping[str, Mapping[str, float]] = {
'''


def write_module() -> str:
    """Return the module's text; rows whose rates are not all tried yet are left out."""
    lines = [HEAD]
    for name, make_parts in TRIALS.items():
        path = RESULTS / f"{name}.jsonl"
        results = read_lines(path) if path.is_file() else {}
        for part in make_parts(FORMS["default"]):
            lines += write_part(Found(part, results))
    lines.append('}\n"""Part of a table -> label of a row -> learning rate."""\n')
    return "".join(lines)


def write_part(found: Found) -> Iterator[str]:
    """Yield the lines of one part."""
    runs = {row.series: [run for one in found.series(row.series) for run in one.runs] for row in found.part.rows}
    done = {label for label, all_runs in runs.items() if all(run.key in found.results for run in all_runs)}
    chosen = {label: rate for label, rate in choose_rates(found).items() if label in done}
    if chosen:
        yield f'    "{found.part.ground.name}": {{\n'
        yield from (f'        "{label}": {rate:g},\n' for label, rate in chosen.items())
        yield "    },\n"


if __name__ == "__main__":
    MODULE.write_text(write_module(), encoding="utf-8")
