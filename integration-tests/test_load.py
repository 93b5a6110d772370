"""The checker of the cluster's tests sees what it is there to see."""
import types

import pytest

from harness import otlp
from harness.load import Load, Prober, Questions, Template, Wrong
from harness.waiting import eventually


def test_template_makes_requests_that_decode_with_fresh_ids():
    template = Template(2, 3)
    one, made = template.fill([bytes(15) + b"\1", bytes(15) + b"\2"], 1_700_000_000_000_000_000)
    two, other = template.fill([bytes(15) + b"\1", bytes(15) + b"\2"], 1_700_000_000_000_000_000)
    assert made.keys() == other.keys() == {"0" * 31 + "1", "0" * 31 + "2"}
    assert not set(made["0" * 31 + "1"]) & set(other["0" * 31 + "1"])
    for body, ids in ((one, made), (two, other)):
        request = otlp.ExportTraceServiceRequest.FromString(body)
        assert otlp.ids(request) == ids
        for span in request.resource_spans[0].scope_spans[0].spans:
            assert span.end_time_unix_nano - span.start_time_unix_nano == 5 * otlp.MILLISECOND


class Answers:
    """Gives the answers that it is told to give."""

    def __init__(self, trace=None, search=None, counted=None, partial=False):
        self.trace = lambda *_: (trace, partial)
        self.search = lambda *_: (search, partial)
        self.counted = lambda *_: (counted, partial)
        self.get = lambda *_, **__: ({}, partial)


@pytest.fixture
def load():
    cluster = types.SimpleNamespace(of=lambda _: [], headers={})
    load = Load(cluster)
    load.sent[0] = {"t1": {"a", "b"}, "t2": {"c"}}
    load.acknowledged[0] = {"t1": {"a", "b"}}
    return load


@pytest.mark.parametrize(("kind", "answers"), [
    ("trace", {"trace": ["a"]}),
    ("trace", {"trace": ["a", "b", "b"]}),
    ("trace", {"trace": ["a", "b", "x"]}),
    ("search", {"search": {"t1": ["a"]}}),
    ("search", {"search": {}}),
    ("search", {"search": {"t1": ["a", "b"], "t9": ["z"]}}),
    ("count", {"counted": 1}),
    ("count", {"counted": 4}),
    ("count", {"counted": 4, "partial": True}),
    ("trace", {"trace": ["a", "a"], "partial": True}),
])
def test_wrong_answers_are_seen(load, kind, answers):
    with pytest.raises(Wrong):
        Questions(load, Answers(**answers)).ask(kind, 0, trace_id="t1")


@pytest.mark.parametrize(("kind", "answers", "whole"), [
    ("trace", {"trace": ["b", "a"]}, True),
    ("trace", {"trace": ["b"], "partial": True}, False),
    ("search", {"search": {"t1": ["a", "b"], "t2": ["c"]}}, True),
    ("search", {"search": {"t1": ["a", "b"]}}, True),
    ("search", {"search": {}, "partial": True}, False),
    ("count", {"counted": 2}, True),
    ("count", {"counted": 3}, True),
    ("count", {"counted": 0, "partial": True}, False),
])
def test_right_and_marked_answers_pass(load, kind, answers, whole):
    assert Questions(load, Answers(**answers)).ask(kind, 0, trace_id="t1") == whole


def test_prober_tells_answers_apart(load):
    prober = Prober(load, pause=0)
    prober.questions.asker = Answers(trace=["a"], search={}, counted=0)
    with prober:
        eventually(lambda: len(prober.wrong) >= 5, "the prober finds five wrong answers")
    assert not prober.right and not prober.partial
