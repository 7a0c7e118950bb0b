"""Claims: what would bear each one out does, what would not does not, and an unfinished one says nothing."""

import hashlib
from dataclasses import replace

import pytest
from made import results

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.study import claims
from g2rpo_env.study.claims import CLAIMS, Claim, find_claims
from g2rpo_env.study.faults import FAULTS
from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import FORMS, Scale
from g2rpo_env.study.regimes import MAP, REGIMES
from g2rpo_env.study.runner import order_runs
from g2rpo_env.study.runs import BINS, execute

ADDITION = "g2rpo_env/Addition-v0"
BY_NAME = {claim.name: claim for claim in CLAIMS}


def read(name, scale, accuracy, **changes):
    """Return the verdict and the checks of a claim on made results."""
    parts = BY_NAME[name].parts(scale)
    made = results(parts, accuracy, **changes)
    return BY_NAME[name].read([Found(part, made) for part in parts])


def holds(checks):
    return [check.holds for check in checks]


def test_names_are_distinct_and_every_claim_says_what_it_is():
    assert len(BY_NAME) == len(CLAIMS) == 11
    for claim in CLAIMS:
        assert claim.says and claim.source and claim.question


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
@pytest.mark.parametrize("form", ["default", "full", "reduced"])
def test_every_claim_has_runs_in_every_form(claim, form, scale):
    chosen = scale if form == "reduced" else Scale(form, (0, 1), tuple(FAMILIES))
    for part in claim.parts(chosen):
        labels = [row.label for row in part.rows]
        assert len(set(labels)) == len(labels) and "base" in labels
        assert all(len(row.runs) == 2 for row in part.rows)


def test_the_headline_has_sixty_runs_and_its_references():
    (part,) = BY_NAME["adaptive"].parts(Scale("default", (0, 1, 2), (ADDITION,)))
    rules = [row for row in part.rows if row.series in claims.FIVE.values()]
    assert len(rules) == 5 * 4 and sum(len(row.runs) for row in rules) == 60
    assert sorted({row.x for row in rules}) == [0.1, 0.3, 0.5, 0.8]


def test_claims_share_their_runs():
    scale = Scale("default", (0, 1, 2), (ADDITION,))
    keys = {
        claim.name: {run.key for part in claim.parts(scale) for row in part.rows for run in order_runs(row.runs)}
        for claim in CLAIMS
    }
    assert keys["sparse"] == keys["imitation"] <= keys["adaptive"]
    assert len(keys["ratio"] - keys["adaptive"]) == 4 * 3  # ratio 1/2 from 80 % is a run of the headline
    assert keys["fixed"] <= keys["size"]


def test_a_claim_replicates_in_part_or_not_at_all(tiny):
    found = Found(Part(tiny, ()), {})

    def claim(*held):
        checks = [claims.Check("text", one) for one in held]
        return Claim("x", "says", "source", "question", lambda scale: [], lambda found: checks)

    assert claim(True, True).read([found])[0] == "replicates"
    assert claim(True, False).read([found])[0] == "replicates in part"
    assert claim(False, False).read([found])[0] == "does not replicate"
    assert claim().read([found]) == claim(True).read([]) == ("not tried in this form", [])


def test_an_unfinished_claim_says_nothing(scale):
    (part,) = BY_NAME["sparse"].parts(scale)
    made = results([part], lambda label: 0.5)
    made.popitem()
    assert BY_NAME["sparse"].read([Found(part, made)]) == ("unfinished", [])


def headline(label):
    """Accuracies that bear the claim out."""
    if label.startswith("self-tuning"):
        return {"self-tuning 10%": 0.72}.get(label, 0.74)
    return {"fixed 80%": 0.75, "grpo 5e-05": 0.25, "base": 0.05}.get(label, 0.1)


def test_the_headline(scale):
    def curve(label):
        return [[0, 0, 0.0], [1, 10 if label.startswith("self") else 20, 0.5], [40, 40, 0.5]]

    verdict, checks = read("adaptive", scale, headline, curve=curve)
    assert verdict == "replicates" and holds(checks) == [True] * 4
    assert "self-tuning 10%" in checks[0].text and "(fixed 80%, 0.7" in checks[0].text
    whole = read("adaptive", scale, lambda label: 0.9 if label == "fixed 100%" else headline(label), curve=curve)[1]
    assert holds(whole)[:2] == [False, True] and "(fixed 100%, 0.9" in whole[0].text
    weak = read("adaptive", scale, lambda label: 0.6 if label == "self-tuning 10%" else headline(label), curve=curve)[1]
    assert holds(weak) == [False, True, True, True]
    slow = read("adaptive", scale, headline, curve=lambda label: curve("self" if label.startswith("fixed") else ""))[1]
    assert holds(slow) == [True, True, False, True]
    strong_fixed = read("adaptive", scale, lambda label: 0.7 if label.startswith("fixed") else headline(label))[1]
    assert holds(strong_fixed)[:2] == [True, False]
    no_better = read("adaptive", scale, lambda label: 0.74 if label.startswith("grpo") else headline(label))[1]
    assert holds(no_better)[3] is False


def test_sparse(scale):
    def signal(label):
        value = 0.1 if label.startswith("grpo") else 0.6
        return {"groups_with_signal": [value] * BINS}

    assert read("sparse", scale, lambda label: 0.5, curves=signal)[0] == "replicates"
    dense = read("sparse", scale, lambda label: 0.5, curves=lambda label: {"groups_with_signal": [0.6] * BINS})
    assert dense[0] == "does not replicate"


def test_ratio(scale):
    def deviation(label):
        return {"advantage_std": [0.2 if label.endswith("ratio 1") else 0.8] * BINS, "groups_with_signal": [0.5]}

    def accuracy(label):
        return 0.25 if label.endswith("ratio 1") else 0.75

    assert read("ratio", scale, accuracy, curves=deviation)[0] == "replicates"
    assert holds(read("ratio", scale, lambda label: 0.5, curves=deviation)[1]) == [True, False]


def test_fixed(scale):
    curve = [[0, 0, 0.0], [10, 10, 0.5], [40, 40, 0.5]]
    late = [[0, 0, 0.0], [10, 10, 0.1], [40, 40, 0.5]]
    verdict, checks = read("fixed", scale, lambda label: 0.5, curve=lambda label: late if "grpo" in label else curve)
    assert verdict == "replicates" and len(checks) == 2
    better = read("fixed", scale, lambda label: 0.9 if "fixed" in label else 0.25)[1]
    assert holds(better) == [True, False]


def test_size():
    scale = Scale("default", (0, 1), (ADDITION,))
    parts = BY_NAME["size"].parts(scale)
    best = {"0.1 M": "fixed 80%, ratio 0.75", "0.4 M": "fixed 80%", "1.5 M": "fixed 30%", "MiniPython": "fixed 100%"}
    made = {}
    for part in parts:
        size = part.ground.name.rpartition(", ")[2]
        gain = {"0.1 M": 0.5, "0.4 M": 0.4, "1.5 M": 0.3, "MiniPython": 0.4}[size]

        def accuracy(label, size=size, gain=gain):
            if label in (best[size], best[size].replace("%, ratio 0.75", " %, ratio 0.75")):
                return 0.25 + gain
            return 0.25 + gain - 0.05 if label == "fixed 80%" else 0.25

        made |= results([part], accuracy)
    checks = BY_NAME["size"].read([Found(part, made) for part in parts])[1]
    assert len(checks) == 4 and holds(checks)[:2] == [True, True]
    assert checks[-1].holds and checks[-1].text.endswith("100% against 80%")


def test_curriculum(scale):
    good = {"g2rpo-a, curriculum": 0.75, "g2rpo-a, random": 0.5, "g2rpo-a, no hard ones": 0.25}
    assert read("curriculum", scale, lambda label: good.get(label, 0.25))[0] == "replicates"
    assert holds(read("curriculum", scale, lambda label: 0.5)[1]) == [False, False, False]


def test_hard_problems_are_left_out_of_training_but_not_of_the_test(scale):
    (part,) = BY_NAME["curriculum"].parts(scale)
    for row in part.rows:
        if row.label.endswith("no hard ones"):
            setting = row.runs[0].setting
            assert setting.task["digits"] == (1, 1) and setting.measured["digits"] == (1, 2)


def test_loss_mode(scale):
    def accuracy(label):
        if label == "self-tuning, masked, ratio 1/4":
            return 0.5
        return 0.25 if "masked" in label else 0.75

    assert read("loss-mode", scale, accuracy)[0] == "replicates"
    assert not any(holds(read("loss-mode", scale, lambda label: 0.5)[1]))


def test_imitation(scale):
    good = {"g2rpo-a": 0.75, "sft": 0.25, "base": 0.125}
    assert read("imitation", scale, lambda label: good.get(label, 0.25))[0] == "replicates"
    same = read("imitation", scale, lambda label: {**good, "sft": 0.75}.get(label, 0.25))[1]
    assert holds(same) == [True, False, True, False] and "reaches 100% of its gain" in same[-1].text


def test_the_raw_rule(scale, tiny):
    def lengths(label):
        return [0.01 if label.startswith("raw") else 4.0]

    def accuracy(label):
        return 0.5 if label == "raw rule 10%" else 0.25

    verdict, checks = read("raw-rule", scale, accuracy, lengths=lengths)
    assert verdict == "replicates" and len(checks) == len(FAULTS) + 2
    assert not holds(read("raw-rule", scale, lambda label: 0.25, lengths=lambda label: [4.0])[1])[-1]


def test_figures_have_a_sign():
    from g2rpo_env.experiments.statistics import Estimate

    assert claims.format_estimate(Estimate(0.25, -0.125, 0.5)) == "+0.25 [-0.12, 0.50]"


@pytest.mark.long
def test_every_run_of_every_claim_trains(scale, tiny, tmp_path, monkeypatch):
    """Three updates each, in this process: no configuration that a claim makes is refused."""
    # of one digit there are fewer sums than in the pool of a regime
    two_digits = replace(tiny, family=replace(tiny.family, task={"digits": 2}))
    monkeypatch.setattr("g2rpo_env.study.grounds.REDUCED", two_digits)
    full = replace(scale, name="full", seeds=(0,))
    runs = order_runs(run for claim in CLAIMS for part in claim.parts(full) for row in part.rows for run in row.runs)
    lengths = {}
    for run in runs:
        folder = tmp_path / run.base.key
        if not folder.is_dir():
            run.base.make(folder)
        found = execute(run, folder, lengths)
        lengths[run.key] = found.get("lengths")
        assert 0 <= found["accuracy"] <= 1 and (run.arm is None or found["updates"] > 0)
    assert len(runs) > 60


def test_beyond_imitation_names_the_hardest_imitation_and_counts_the_regimes(scale):
    def accuracy(label):
        return 0.75 if label.startswith("g2rpo-a") else 0.625 if label.startswith("raft, ") else 0.25

    verdict, checks = read("beyond-imitation", scale, accuracy)
    regimes = len(REGIMES)
    assert verdict == "replicates" and holds(checks) == [True, True] * regimes + [True]
    assert "+0.50 [" in checks[0].text and "+0.12 [" in checks[1].text
    assert "against raft, revealed too" in checks[1].text
    assert f"{regimes} of {regimes}" in checks[-1].text


def test_a_tie_with_raft_is_no_win(scale):
    def accuracy(label):
        return 0.75 if label.startswith(("g2rpo-a", "raft, ")) else 0.25

    verdict, checks = read("beyond-imitation", scale, accuracy)
    assert verdict == "replicates in part" and holds(checks) == [True, False] * len(REGIMES) + [False]
    assert "not told apart" in checks[1].text and checks[-1].text.startswith("regimes") and ": 0 of" in checks[-1].text


def test_the_map_says_where_guided_grpo_is_above_imitation_and_where_it_is_not(scale):
    def accuracy(label):
        if label.startswith("raft") and "right traces" in label:
            return 0.875
        return {"g2rpo-a": 0.75, "raft": 0.625, "sft": 0.25}.get(label.partition(":")[0], 0.5)

    verdict, checks = read("map", scale, accuracy)
    assert len(checks) == len(MAP) and verdict == "replicates in part"
    said = dict(zip([regime.name for regime in MAP], checks, strict=True))
    right = said["right traces"]
    assert right.holds and "-0.12 [" in right.text and right.text.endswith("not entirely above all of them")
    few = said["32 problems, epoch after epoch"]
    assert few.holds and "+0.12 [" in few.text and "+0.50 [" in few.text and "against raft, " in few.text
    assert not said["half of the solution in the prompt"].holds  # above, where a tie was said
    assert not any(holds(read("map", scale, lambda label: 0.5)[1])[2:-1])


def test_the_map_has_a_place_with_many_right_answers():
    _, countdown = BY_NAME["map"].parts(Scale("default", (0,), tuple(FAMILIES)))
    rows = {row.label: row.runs[0] for row in countdown.rows}
    assert countdown.ground.env == "g2rpo_env/Countdown-v0"
    assert {"base", "g2rpo-a: right traces", "raft: right traces", "sft: right traces"} < set(rows)
    assert {run.base.key for run in rows.values()} == {countdown.ground.make_base(0).key}
    assert rows["sft: right traces"].replays == rows["g2rpo-a: right traces"]
    checks = claims.check_map([Found(countdown, {})])
    assert [check.text.startswith("Countdown, right traces: g2rpo-a is") for check in checks] == [True]


def test_names_of_claims():
    assert find_claims("all") == list(CLAIMS)
    assert [claim.name for claim in find_claims("ratio, sparse")] == ["ratio", "sparse"]
    with pytest.raises(ConfigurationError):
        find_claims("sparse,none")


def test_seeds_come_one_after_the_other():
    (claim,) = find_claims("sparse")
    seeds = [run.setting.seed for run in claim.make_runs(FORMS["default"])]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}


@pytest.mark.parametrize(
    ("form", "number", "digest"),
    [("default", 1026, "51cc3bbcc2edb826"), ("full", 2645, "9220b8610abed26f"), ("reduced", 494, "a3e0ae562b5f29ad")],
)
def test_keys_stay_what_they_are(form, number, digest):
    """Results that are kept are found again by them: no name of a class or an argument in them may change."""
    keys = [run.key for claim in CLAIMS for run in claim.make_runs(FORMS[form])]
    assert len(keys) == number and hashlib.sha256(" ".join(keys).encode()).hexdigest()[:16] == digest


def test_the_keys_of_some_runs():
    runs = {claim.name: claim.make_runs(FORMS["default"]) for claim in CLAIMS}
    assert runs["adaptive"][0].key == "c09ada01c469ffc7" and runs["adaptive"][0].base.key == "956c5c5353f15dac"
    assert runs["loss-mode"][7].key == "b7154f6962014955"  # raft
    assert runs["beyond-imitation"][7].key == "356f5a35640b330f"  # sft, which replays another run
    assert runs["map"][-1].key == "456b676052187d0e"
