"""Documents that clients send and that become many times as large: policies to try, limits to set.

As in test_hostile_tenants.py, whose server and honest tenant these are."""
import json
import random
import time

import pytest
import requests

from harness import otlp
from harness.clients import at_once
from test_hostile_tenants import HOSTILE, bounded, push_spans, server  # noqa: F401


def policies(count, policy):
    return "policies:\n" + "".join(f"- {{name: p{number}, {policy(number)}}}\n" for number in range(count))


def patterns(number):
    return r"type: string_attribute, string_attribute: {key: a, enabled_regex_matching: true, values: ['\pL{15}%d']}" % number


# Each is small, or a good deal larger than what anybody writes.
POLICIES = {
    "aliases of a long text": f"policies: [{{name: &a {'x' * 100_000}}}, {'{name: *a}, ' * 10_000}]",
    "anchors around a list": "".join(f"&a{level} [" for level in range(90)) + "0," * 90_000 + "]" * 90,
    "lists of lists": "[[]," * 5_000_000,
    "merged keys": "<<: {" + "".join(f"k{number}: 1, " for number in range(25_000)) + "}\n" + "".join(f"l{number}: 1\n" for number in range(10_000)),
    "unknown keys": "\n".join(f"{number}: 1" for number in range(30_000)),
    "policies": policies(8_000, lambda number: "type: always_sample"),
    "attributes": policies(3_000, lambda number: f"type: string_attribute, string_attribute: {{key: a, values: [v{number}]}}"),
    "patterns": policies(2_000, patterns),
    "patterns of queries": policies(2_000, lambda number: r"type: traceql, traceql: {query: '{ .a =~ `\pL{40}%d` }'}" % number),
    "values": policies(1, lambda number: "type: string_attribute, string_attribute: {key: a, values: [" + "v, " * 80_000 + "]}"),
    "twenty megabytes": "#" * (20 << 20),
}


@pytest.mark.parametrize("body", POLICIES.values(), ids=POLICIES)
def test_policies_to_try(server, body):  # noqa: F811
    """Four clients at a time. Each is refused, or gets its answer."""
    push_spans(server, 1000)

    def ask(_):
        answer = requests.post(server.url + "/api/tail-sampling/dry-run", data=body, headers=HOSTILE, timeout=60)
        return answer.status_code, answer.text[:200]

    with bounded(server):
        began = time.monotonic()
        answers = at_once(ask, 8, 4)
        assert all(status in (200, 400, 413, 422, 503) for status, _ in answers), answers
        assert time.monotonic() - began < 40, answers


def random_texts(number):
    return f"[ab]*a[ab]{{{14 + number % 3}}}[c-z]{number}?"


# With each letter a text makes a state of them that was not there before.
DETERMINED = {
    "of attributes": policies(1, lambda number: "type: string_attribute, string_attribute: {key: k, enabled_regex_matching: true, values: ["
                              + ", ".join(f"'{random_texts(number)}'" for number in range(400)) + "]}"),
    "of queries": policies(400, lambda number: f"type: traceql, traceql: {{query: '{{ span.k =~ `{random_texts(number)}` }}'}}"),
}


@pytest.mark.parametrize("body", DETERMINED.values(), ids=DETERMINED)
def test_patterns_that_grow_with_texts(server, body):  # noqa: F811
    draw = random.Random(1)
    texts = ("".join(draw.choices("ab", k=2000)) for _ in range(10))
    answer = server.push(otlp.export(*(otlp.span(attributes={"k": text}) for text in texts)), headers=HOSTILE)
    assert answer.status_code == 200, answer.text
    with bounded(server):
        answer = requests.post(server.url + "/api/tail-sampling/dry-run", data=body, headers=HOSTILE, timeout=300)
        assert answer.status_code == 200, answer.text


def brackets(size):
    """An unknown key of lists within lists."""
    return '{"a":[' + '[0],' * (size // 4) + "[0]]}"


def test_limits_that_are_large(server):  # noqa: F811
    url = server.url + "/api/overrides"
    maps = '{"a":[' + '{"":0},' * (2 << 20) + "{}]}"

    def ask(document):
        return [requests.request(method, url, data=document, headers={**HOSTILE, "If-Match": "0"}, timeout=60).status_code
                for method in ("POST", "PATCH")]

    with bounded(server):
        for document in (brackets(15 << 20), maps):
            assert at_once(lambda _, document=document: ask(document), 4, 4) == [[400, 400]] * 4


def test_limits_of_very_many_tenants(server):  # noqa: F811
    """Each sets as much as it may; together they may set less."""
    url = server.url + "/api/overrides"
    dimensions = [f"{number:0800}" for number in range(250)]
    document = json.dumps({"metrics_generator": {"processor": {"span_metrics": {"dimensions": dimensions}}}})

    def post(number):
        headers = {"X-Scope-OrgID": f"many-{number}"}
        answer = requests.post(url, data=document, headers={**headers, "If-Match": "0"}, timeout=60)
        assert answer.status_code in (200, 429), answer.text[:300]
        return headers, answer.headers.get("ETag")

    with bounded(server):
        made = [(headers, version) for headers, version in at_once(post, 600, 4) if version]
        assert 50 < len(made) < 300
        for headers, version in made:
            assert requests.delete(url, headers={**headers, "If-Match": version}, timeout=60).status_code == 200
