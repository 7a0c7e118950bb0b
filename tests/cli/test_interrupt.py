"""The first signal asks, the second one kills, and the handlers of before come back."""

import os
import signal

import pytest

from g2rpo_env.cli.interrupt import catch_stop_request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_kills(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        with catch_stop_request() as stopping:
            assert not stopping()
            os.kill(os.getpid(), number)
            assert stopping()
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
