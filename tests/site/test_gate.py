"""Who looks at the topics waits for the steps under way, and for one that hangs only once."""

from __future__ import annotations

import threading
import time

from opintel.site.gate import Gate


def test_a_look_waits_for_a_step_and_steps_wait_for_a_look() -> None:
    gate, order = Gate(30.0), list[str]()
    stepping, looking = threading.Event(), threading.Event()

    def step() -> None:
        with gate.step():
            stepping.set()
            time.sleep(0.2)
            order.append("step")

    def look() -> None:
        stepping.wait()
        with gate.look():
            order.append("look")
            looking.set()
            time.sleep(0.2)
            order.append("looked")

    threads = [threading.Thread(target=work) for work in (step, look)]
    for thread in threads:
        thread.start()
    looking.wait()
    with gate.step():
        order.append("next step")
    for thread in threads:
        thread.join()
    assert order == ["step", "look", "looked", "next step"]


def test_a_step_that_hangs_is_waited_for_once() -> None:
    gate, released = Gate(0.3), threading.Event()

    def hang() -> None:
        with gate.step():
            released.wait()

    hanging = threading.Thread(target=hang)
    hanging.start()
    while not gate._steps:
        time.sleep(0.01)
    with gate.look():
        assert not gate._steps
    gate._patience = 3600.0
    with gate.look():
        released.set()
    hanging.join()
    with gate.step(), gate.step():
        assert len(gate._steps) == 2
