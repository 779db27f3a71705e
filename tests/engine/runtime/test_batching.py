"""One queue for all callers: free places are taken at once, workers share, errors stay where they belong."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc

import numpy as np
import pytest

from engine.errors import BackendError
from engine.runtime import decoding
from engine.runtime.backend import HostCache, Step
from engine.runtime.decoding import Row
from engine.runtime.predictor import Predictor
from engine.runtime.text import Place, Request, detection_text
from tests.engine.runtime.test_predictor import TOKENIZER, ScriptedBackend, bundle, noise, saying  # noqa: F401

OBJECT = detection_text([("ship", (10, 20, 30, 44))])


class Slow(ScriptedBackend):
    """Waits for leave before its first step; fails on prompts that hold some token, if told."""

    def __init__(self, logits, workers: int = 1, batch: int = 2) -> None:
        super().__init__(logits)
        self.workers, self.batch = workers, batch
        self.leave = threading.Event()
        self.leave.set()
        self.bad: int | None = None
        self.at_once, self.most = 0, 0
        self.lock = threading.Lock()

    def decode(self, step: Step, cache: HostCache, first: int):
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            assert self.leave.wait(20)
            if self.bad is not None and (step.input_ids == self.bad).any():
                raise BackendError("got a bad token, expected none")
            return super().decode(step, cache, first)
        finally:
            with self.lock:
                self.at_once -= 1


def known(request: Request, count: int) -> Request:
    return Request(request.task, request.chips, request.priors, known=(Place((2, 2, 8, 8), "ship"),) * count)


def test_requests_of_several_threads_are_answered_together(bundle, make_request) -> None:  # noqa: F811
    nothing = TOKENIZER.encode("[]").ids[0]

    def busy(tokens: list[int]) -> np.ndarray:
        logits = noise(3)(tokens)
        logits[nothing] -= 50  # there is always something
        return logits

    backend = Slow(busy)
    predictor = Predictor(bundle, backend, rows=6)
    asked = [[known(make_request(7 * caller + i), caller) for i in range(5)] for caller in range(3)]
    expected = [Predictor(bundle, ScriptedBackend(busy)).ask(each) for each in asked]
    got: dict[int, list] = {}
    told: dict[int, set] = {}

    def call(caller: int) -> None:
        told[caller] = set()
        note = told[caller].add
        got[caller] = predictor.ask(asked[caller], lambda more: note((threading.get_ident(), more > 0)))

    backend.leave.clear()
    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(predictor._waiting) < 13 and time.monotonic() < deadline:
        time.sleep(0.01)  # the first two are being read
    backend.leave.set()
    for thread in threads:
        thread.join(60)
    assert [got[caller] for caller in range(3)] == expected
    assert max(rows for rows, _ in backend.steps) == 6  # more than one caller's at once
    for caller, thread in enumerate(threads):
        assert told[caller] == {(thread.ident, True)}


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_the_queue_and_give_the_same_answers(bundle, make_request, workers: int) -> None:  # noqa: F811
    asked = [known(make_request(i), i % 4) for i in range(23)]
    expected = Predictor(bundle, ScriptedBackend(noise(5))).ask(asked)
    backend = Slow(noise(5), workers)
    predictor = Predictor(bundle, backend, rows=4)
    backend.leave.clear()
    threading.Timer(0.3, backend.leave.set).start()
    assert predictor.ask(asked) == expected
    assert predictor.ask(asked) == expected
    assert backend.most == workers


def test_a_place_that_is_free_is_taken_at_once(bundle, make_request) -> None:  # noqa: F811
    """Empty chips end with their prompt: full ones go on beside them, in as few steps as alone."""

    def steps(count: int, rows: int) -> list[tuple[int, int]]:
        backend = ScriptedBackend(saying(OBJECT))
        backend.batch = 1
        backend.logits = saying(OBJECT) if count == 1 else saying("[]")
        Predictor(bundle, backend, rows=rows).ask([make_request(i) for i in range(count)])
        return backend.steps

    assert len(steps(1, 2)) == 6 + 1
    assert len(steps(9, 2)) == 9
    backend = ScriptedBackend(saying(OBJECT))
    backend.batch = 1
    Predictor(bundle, backend, rows=3).ask([make_request(i) for i in range(9)])
    prompts = [i for i, (_, tokens) in enumerate(backend.steps) if tokens > 20]
    assert prompts[:3] == [0, 1, 2]  # places are filled before a step is made
    assert prompts[3] == 3 + 6  # and again as soon as they are free
    assert len(backend.steps) == 3 * (3 + 6)


def test_an_error_reaches_those_at_work_and_the_others_go_on(bundle, make_request) -> None:  # noqa: F811
    backend = Slow(saying(OBJECT), batch=4)
    predictor = Predictor(bundle, backend, rows=4)
    probe = predictor._read(predictor._row(None, 0, known(make_request(0), 3)).prompt and "3")  # type: ignore
    backend.bad = int(probe.ids[-1])  # the ordinal 3 stands only where three objects are known
    errors: list[BaseException] = []
    answers: list[list] = []

    def call(count: int, into: list) -> None:
        try:
            into.append(predictor.ask([known(make_request(i), count) for i in range(4)]))
        except BackendError as error:
            errors.append(error)

    backend.leave.clear()
    threads = [threading.Thread(target=call, args=(count, answers)) for count in (3, 1)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    backend.leave.set()
    for thread in threads:
        thread.join(60)
    assert len(errors) == 1
    assert [[answer.text for answer in each] for each in answers] == [[OBJECT] * 4]


def test_a_call_that_is_interrupted_leaves_nothing_behind(bundle, make_request) -> None:  # noqa: F811
    backend = Slow(noise(1))
    predictor = Predictor(bundle, backend, rows=2)
    asked = [make_request(i) for i in range(12)]

    def interrupt(more: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.ask(asked, interrupt)
    assert not predictor._waiting
    expected = Predictor(bundle, ScriptedBackend(noise(1))).ask(asked)
    assert predictor.ask(asked) == expected


def test_caches_keep_within_their_budget(bundle, make_request) -> None:  # noqa: F811
    def most(cache_bytes: int, workers: int = 1) -> int:
        backend = Slow(noise(2), workers)
        made: list[HostCache] = []
        allocate = backend.allocate
        backend.allocate = lambda rows, columns: made.append(allocate(rows, columns)) or made[-1]  # type: ignore
        predictor = Predictor(bundle, backend, rows=8, cache_bytes=cache_bytes)
        predictor.ask([make_request(i) for i in range(16)])
        assert workers * max(2 * c.rows * c.columns * 4 for c in made) <= max(cache_bytes, 2 * 4 * 256)
        return max(cache.rows for cache in made)

    row = 2 * 4 * 190  # one layer, one head of one channel; a prompt and its answer
    assert most(1 << 20) == 8
    assert most(5 * row) in (3, 4)
    assert most(10 * row, workers=2) in (3, 4)
    assert most(1) == 1


def test_nothing_is_left_of_ten_thousand_chips(bundle, make_request, monkeypatch) -> None:  # noqa: F811
    pixels = np.zeros((8, 324, 588), np.float32)
    monkeypatch.setattr(decoding, "patches", lambda chips, *sizes: pixels[: len(chips)])
    logits = saying("[]")(TOKENIZER.encode("<|im_start|>assistant\n").ids)
    backend = ScriptedBackend(lambda tokens: logits)
    predictor = Predictor(bundle, backend)
    some = [make_request(i) for i in range(8)] * 125
    predictor.ask(some)
    backend.steps.clear()
    gc.collect()
    tracemalloc.start()
    try:
        held = []
        for _ in range(10):
            answers = predictor.ask(some)
            backend.steps.clear()
            assert len(answers) == 1000
            del answers
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[-1] - held[1] < 50_000
    assert not any(type(each) is Row for each in gc.get_objects())
