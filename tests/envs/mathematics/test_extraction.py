"""Extraction: each rule, their order, and what may not fool them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.extraction import RULES, Extraction, extract

CASES = [
    (r"first \boxed{1} but wait, actually \boxed{460}", "boxed", "460"),
    (r"\boxed{1}, \boxed{2} and \boxed{3}", "boxed", "1, 2, 3"),
    (r"\boxed{\frac{1}{\sqrt{2}}} holds", "boxed", r"\frac{1}{\sqrt{2}}"),
    ("so <answer> 160 </answer>", "tag", "160"),
    ("3*4=12\n#### 12\nbye", "hashes", "12"),
    ("**Answer: 70000**", "phrase", "70000"),
    ("The final answer is $45$. I hope it is correct.", "phrase", "45"),
    ("5/6", "whole", "5/6"),
    ("We conclude that $x=2$ holds", "formula", "x=2"),
    ("<answer>The answer is 18.</answer>", "tag", "18"),
    ("The solutions are $x = 2$ and $x = 3$.", "phrase", "x = 2 and x = 3"),
    ("$x < -1$ or $x > 3$", "formula", "x < -1 or x > 3"),
    ("Since $n > 3$ and $x = 5$ the rest follows", "formula", "x = 5"),
    ("It sold for $200,000 and cost $130,000. So he made $70,000.", "number", "70,000"),
    ("They pay $5 each and $2 more, so $x = 7$", "formula", "x = 7"),
    ("no solution", "whole", "no solution"),
    ("The correct option is B", "phrase", "B"),
    ("### Answer\n18", "phrase", "18"),
    ("The answer is 7, since 3 + 4 = 7.", "phrase", "7"),
    ("The answer is 12</s>", "phrase", "12"),
    ("From $2x=7$ it follows. Therefore the length grows by 100%.", "number", "100%"),
    ("The train arrives at 3:45.", "number", "3:45"),
    ("So x equals \u22124.", "number", "-4"),
    ("Therefore she makes $1,234 every day", "number", "1,234"),
]


BOXES = [
    (r"$\boxed 2$", "2"), (r"$\boxed  7$.", "7"), (r"$\boxed\frac12$", r"\frac12"),
    (r"$\boxed\frac{1}{2}$", r"\frac{1}{2}"),
    (r"$\boxed 12.$", "12"), (r"$\boxed -3$", "-3"), (r"\boxed\sqrt[3]{2}", r"\sqrt[3]{2}"),
    (r"\boxed\text{B} holds", r"\text{B}"),
    (r"\boxed x^{10}$", "x^{10}"), (r"\boxed (1,2).", "(1,2)"), ("\\boxed\n{12}", "12"), (r"\fbox 5", "5"),
    (r"\framebox{5}", "5"),
    (r"\boxed{\boxed{4}}", "4"), (r"\boxed{x=\boxed 4}", "4"), (r"\boxed{3} then \boxed{}", "3"), (r"\boxed{10", "10"),
    (r"\boxed{8} no: \boxed 9", "9"), (r"in \boxed notation", None), (r"\boxed", None), (r"\boxed{}", None),
    (r"$x=\boxed{1}$ or $x=\boxed{2}$", "1, 2"), (r"\boxed{35} and so on. Then \boxed{4}", "4"),
]  # fmt: skip
PLACES = [
    (r"\boxed{\text{The answer is 460}}", "460"), (r"\boxed{\text{The area is }12\text{ units}}", "12  units"),
    ("<think>maybe \\boxed{4}</think>\nThe answer is 5.", "5"), ("<think>\\boxed{4}</think>", "4"), ("", None),
    ("\\boxed{}\nThe answer is 5.", "5"), ("The answer is 42, not 43.", "42"),
    ("The answer is **42** dollars.", "42 dollars"),
    ("The answer is forty-two (42).", "42"), ("The answer is <b>8</b>.", "8"), ("Answer: ~~7~~ 8", "8"),
    ("Ans: 42", "42"),
    ("So, x = 42", "x = 42"), ("Thus we get 6*7 = 42", "6*7 = 42"), ("Die Antwort lautet 3,5.", "3,5"),
    ("La réponse est 42.", "42"),
    ("La respuesta final es 6.", "6"), ("Ответ: 42", "42"), ("最终答案是：6", "6"), ("答えは6です。", "6"),
    ("정답은 6입니다.", "6"),
    ("Der Wert beträgt 3,5.", "3,5"), ("The point is (1, 2).", "(1, 2)"), ("The ratio is 2:3.", "2:3"),
    ("I get 6.", "6."),
    ("There are 42 ways to choose 3 of 9.", "42"), ("He has 36 left after spending 64.", "36"),
    ("6 out of 7 are red", "6 out of 7"),
    ("So the chance is one half.", "one half"), ("No, it is not prime.", "No"), ("Is it?\n\n**Yes.**", "**Yes.**"),
    ("Therefore, option C is the correct answer.", "C"), ("Option C is wrong since it is negative.", None),
    ("The sum is **70**.", "70"), ("La réponse est donc 24.", "24"),
    ("The area of the whole circle is 5π.", "5π"), ("The derivative of it is therefore 2x.", "2x"),
    ("The larger root of both is 2 + √3.", "2 + √3"), ("From x² = 7 we get x = ±√7.", "±√7"),
    ("There are n + 1 edges in the graph.", "n + 1"), ("That leaves 42 - a nice number.", "42"),
    ("So both values work: x = 1 and x = 5.", "x = 1 and x = 5"), ("So the roots are 3 and -3.", "3 and -3"),
    ("The whole trip takes 2 hours and 15 minutes.", "2 hours and 15 minutes"),
    ("It takes 1 1/2 hours.", "1 1/2 hours"),
    ("Therefore its area is 24 cm² in total.", "24 cm²"), ("She has to pay $24k / 12 = $2k per month.", "2"),
    ("The train arrives there at 11:30 p.m. today.", "11:30 p.m"), ("Finally there are 5 in the bag.", "5"),
    ("It is 1/6, since the complement has 5/6.", "1/6"), ("There are **three** real roots.", "three"),
    ("I cannot determine the answer to problem 7.", None), ("The answer cannot be 12.", None), ("12 is wrong.", None),
    ("The answer is not 5 but 6.", "6"), ("The answer is not 20, it is 15.", "15"), ("Not 21, but 22.", "22."),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("So the minimum value is 3, attained at x = -3.", "3"), ("The value of it all is negative 3.", "-3"),
    ("The number of pens is **15**, as shown in Figure 2.", "15"), ("2x = 8, so x = 4.", "x = 4."),
    ("- x = 7", "x = 7"),
    ("There are 15 pens.\n\nLet me know if you'd like 2 more examples!", "15"),
    ("$x = 4$\n\nCheck: $2(4) = 8$ ✓", "x = 4"), ("Check: $2(4) = 8$\n\n$x = 4$", "x = 4"),
    ("As $f(-x)=f(x)$, the function is **even**.", "even"), ("**Bob** is taller than Alice.", "Bob"),
    ("So the party is on May 5, 2024.", "May 5, 2024"),
    ("The slope is $2x+3$, so it changes with $x$.", "2x+3"), ("Now solve $2x=3$ to get $x$.", "x"),
    ("The total is 24.\n\n*Note: 6 on each shelf.*", "24"),
    ("So we end up with twenty-four books.", "twenty-four books"),
    ("The answer isn't 6.", None), ("\\begin{align*}\n2x&=8\\\\\nx&=4\n\\end{align*}", "x=4"),
    ("$$\\begin{aligned}x&=1\\\\y&=2\\end{aligned}$$", "x=1, y=2"),
    ('{"thought": "3 + 4", "answer": 7}', "7"), ('```json\n{"final_answer": "\\\\frac{1}{2}"}\n```', r"\frac{1}{2}"),
    ('{"answer": [3, 5]}', "3, 5"), ('{"answer": [3, 5', None), ('{"answer": "12', None),
    ('{"steps": ["5+7=12"]}', None), ('{"steps": ["5+7=12", "so', None),
    ('{"answer": {"value": 12, "unit": "cm"}}', "12 cm"), ("{'answer': 'B', 'why': 'A is wrong'}", "B"),
    ("<think>it is 42</think>\nI cannot say more.", None), ("<think>So $x=9$. Wait, 3+4 is 7", None),
    ("<think>The answer is 9</think>", "9"), ("$52/2 = 26$ and then $26 - 13 =", None),
    ("3*6 = 18 and then 18 +", None),
    ("```python\nprint(5+5)\n```", None), ("```python\nprint(5+5)\n```\nOutput:\n```\n10\n```", "10"),
    (r"So $x = -\boxed{4}$.", "-4"), ("- \\boxed{4}", "4"), (r"$10 - \boxed{4} = 6$", "4"),
    (r"$\boxed{35}\%$", r"35\%"),
    (r"(a) \boxed{3}, (b) \boxed{4}", "3, 4"), ("\\boxed{24}\n\n**Answer: B**", "(B) 24"),
    ("\\boxed{\\text{A}}\n\n**Answer: B**", r"\text{A}"), ("The answer is 42, which is option C.", "(C) 42"),
    ("The answer is 42, i.e. option C.", "(C) 42"), ("The answer is 42, so option C is wrong.", "42"),
    ("故选：C．", "C．"), ("The correct one is E", "E"), ("Suppose the answer is 10. Then 3*10 = 31.", "31"),
    ("We cannot conclude that the answer is 10.", None), ("There is no proof that the answer is 10.", None),
    ("If x = 10 then it fails.", None), ("If you add 4 and 6, you get 10.", "10"), ("Is the answer 10?", None),
    ("So it is 10, right?", "10"), ("The sum is less than 10.", None), ("Bob has 10 more than 5.", "10"),
    ("The answer is 10 (ten) apples", "10 apples"), ("She has 20 left (that is 45 - 25).", "20"),
    ("It takes him 60 minutes to walk 3 miles.", "60 minutes"), ("The town has 3 million people.", "3 million"),
    ("one hundred and twenty-one", "one hundred and twenty-one"), ("The chance is one in six.", "1/6"),
    ("So each gets 6 pencils (with 2 left over).", "6"),
    ("Sam ran for 45 minutes over the 3 days.", "45 minutes"),
    ("Therefore, 12 is the greatest common divisor of 24 and 36.", "12"), ("1. First, add the numbers.", None),
    ("Step 3: Multiply.\nStep 4: Done.", None), ("Which means he had 175/25 = 7 bars?", "7"),
    ("Is it true that x = 7?", None),
    ("**Answer:**\n\n- 98", "98"), ("The answer is 98; the other value 89 is rejected.", "98"),
    ("Maria walked 84 miles during those 7 days.", "84 miles"), ("We used 9 of our 12 tokens.", "9"),
    ("It is clearly 25", "25"),
    ("The answer is clearly 25", "25"), ("Nobody knows whether the answer is 25 or 26.", None),
    ("The value lies between 24 and 25.", None), ("So only n = 25 works; n = 36 does not.", "25"),
    ("Correct Answer: C. 25", "(C) 25"), ("Answer: C (25)", "(C) 25"), ("25\n```", "25"),
    ("n = 36 does not work.", None),
    ("I got 7 at first but after checking it should be 8.", "8"),
    ("答：一共有12个苹果。", "12"), ("答：不是12个。", "不是12"), ("故正确答案为D。", "D"), ("【答案】A", "A"),
    ("所以选项D正确", "D"), ("The answer is July 4.", "July 4"),
    ("The limit does not exist.", "does not exist"), ("So the equation has no real solutions.", "no real solutions"),
    ("The limit does not exist for x = 3.", "3"),
    ("It takes 2 painters 60 minutes.", "60 minutes"), ("The angle measures 45°, not 35°.", "45"),
    ("He saved 100 dollars by the 12th month.", "100 dollars"), ("The number of solutions is 3 (x = 1, 2, 5).", "3"),
    (r"**Answer:** $\$32348$", r"\$32348"), (r"It costs \$5 and then \$6.", "6"),
    ("10</s>", "10"), ("10\n\n10", "10"), ("9 eggs * $2/egg = $<<9*2=18>>18", "18"),
    (r"The sum is \textbf{odd}.", "odd"), (r"\textbf{odd}", "odd"), ("**True**", "True"),
    ("It will be Friday.", "Friday"), ("It will not be Friday.", None), ("**Yes**, because 3 divides 12.", "Yes"),
    ("(D) All of the above", "(D) All of the above"), ("D) is wrong", None), ("So I would choose **B**.", "B"),
    ("three and a half", "three and a half"), ("3*sqrt(13)", "3*sqrt(13)"), ("sin²x", "sin²x"),
    (r"3\frac{1}{3} \text{ hours}", r"3\frac{1}{3} \text{ hours}"), ("minus 3", "-3"), (r"-\boxed{3}", "-3"),
    ("x = 2\ny = 3", "x = 2, y = 3"), ("x + 2 = 9\nx = 7", "x = 7"), ("The ratio is 1 : 2.", "1 : 2"),
    ("The ratio is 2:3:4.", "2:3:4"), ("The values are 8, 6, 4.", "8, 6, 4"),
    ("The total is not $64.", None), (r"The total is not \(64\).", None), ("The answer is not $42 but $24.", "$24"),
    ("There are 24 in each of the 3 boxes, so in total 72.", "72"), ("They need 60 more, i.e. 84 in total.", "84"),
    ("It was 24 at first, and it became 20.", "20"), ("It takes 36 minutes to fill 3 tanks.", "36 minutes"),
    ("They have to pay a total of $24 for the 6 tickets.", "24"), ("Only 24 came, out of 60 who were asked.", "24"),
    ("The shop sold 42 cakes, 24 of them today.", "42"), ("The product is 180. (The sum is 36.)", "180"),
    ("The speed is 60. Let me know if you want any of the 3 steps.", "60"), (r"The profit is \$70{,}000.", "70,000"),
    ("Answer: 36 (12 each)", "36"), (r"$x = 2k\pi$, where $k \in \mathbb{Z}$.", r"x = 2k\pi, k \in \mathbb{Z}"),
    (r"The answer is $2n\pi$ for $n\in\mathbb{Z}$.", r"2n\pi, n\in\mathbb{Z}"), ("It is $2r$, where $r = 5$.", "2r"),
    ("$f(x) = x^2$ for $x \\in [1,4]$", "f(x) = x^2"), ("Thus $x \\in [1,3]$.", "x \\in [1,3]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), BOXES)
def test_boxes(text: str, answer: str | None) -> None:
    found = extract(text, ("boxed",))
    assert (found.answer if found else None) == answer


@pytest.mark.parametrize(("text", "answer"), PLACES)
def test_places(text: str, answer: str | None) -> None:
    found = extract(text, tuple(RULES))
    assert (found.answer if found else None) == answer


@pytest.mark.parametrize(("text", "rule", "answer"), CASES)
def test_each_rule_finds_its_answer(text: str, rule: str, answer: str) -> None:
    assert extract(text, tuple(RULES)) == Extraction(rule, answer)


def test_a_rule_that_is_not_asked_does_not_fire() -> None:
    assert extract("#### 12", ("boxed", "tag")) is None


def test_padding_does_not_hide_a_box() -> None:
    assert extract(r"\boxed{" + " " * 100_000 + "5}", ("boxed",)) == Extraction("boxed", "5")


@given(st.text(max_size=300))
def test_any_text_is_taken(text: str) -> None:
    found = extract(text, tuple(RULES))
    assert found is None or found.rule in RULES
