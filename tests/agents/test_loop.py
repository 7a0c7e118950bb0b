"""The loop: asks before each update, calls everyone after it, and stops when somebody says so."""

from __future__ import annotations

from typing import Any

from g2rpo_env.agents.loop import run_updates


def counting() -> tuple[list[int], Any]:
    done: list[int] = []

    def update() -> dict[str, Any]:
        done.append(len(done) + 1)
        return {"update": len(done)}

    return done, update


def test_it_runs_until_there_is_no_more_to_do() -> None:
    done, update = counting()
    seen: list[Any] = []
    assert run_updates(update, lambda: len(done) < 3, [lambda metrics, seconds: seen.append((metrics, seconds))]) == 3
    assert [metrics for metrics, _ in seen] == [{"update": 1}, {"update": 2}, {"update": 3}]
    assert all(seconds >= 0 for _, seconds in seen)


def test_nothing_is_done_where_there_is_nothing_to_do() -> None:
    done, update = counting()
    assert run_updates(update, lambda: False) == 0 and done == []


def test_false_stops_after_all_callbacks_were_called_and_none_goes_on() -> None:
    done, update = counting()
    order: list[str] = []
    callbacks = [
        lambda metrics, seconds: order.append("first"),
        lambda metrics, seconds: metrics["update"] < 2,
        lambda metrics, seconds: order.append("last"),
    ]
    assert run_updates(update, lambda: True, callbacks) == 2
    assert order == ["first", "last"] * 2
