"""Run by test_equality: atheris feeds bytes as answers and as frames of the sandbox; only WireError may come out."""

import sys

import atheris

with atheris.instrument_imports(include=["g2rpo_env.envs"]):
    from g2rpo_env.envs.coding import wire
    from g2rpo_env.envs.mathematics import MathVerifier

VERIFIER = MathVerifier(symbolic=False)


def target(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    gold, answer = provider.ConsumeUnicode(60), provider.ConsumeUnicode(400)
    VERIFIER.equal(gold, answer)
    VERIFIER.check([(gold, answer), (r"\boxed{5}", answer)])
    try:
        wire.loads(data)
    except wire.WireError:
        pass


atheris.Setup(sys.argv, target)
atheris.Fuzz()
