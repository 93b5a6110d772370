"""Requests with the answers that they must have."""
from . import ask, metrics, pipeline, queries
from .data import SECOND

SEVERAL = "several spansets"


class Cases:
    """Makes cases about some traces, whose spans start in the ten minutes from `base` (nanoseconds)."""

    def __init__(self, dice, traces, base):
        self.dice, self.traces, self.base = dice, traces, base // SECOND
        self.queries = queries.Queries(dice, traces)

    def make(self, count):
        """(path, parameters, expected answer); most have a result."""
        out = []
        while len(out) < count:
            try:
                case = self.search() if self.dice.random() < 0.5 else self.metrics()
            except metrics.Ambiguous:
                continue
            if len(case[2]) > 1 or self.dice.random() < 0.2:
                out.append(case)
        return out

    def search(self):
        stages = self.queries.pipelines()
        text, window, limit, spss = queries.stages_text(stages, self.dice), None, None, None
        params = {"start": self.base - 3600, "end": self.base + 3600, "limit": 100000, "spss": 0}
        if self.dice.random() < 0.2:
            window = params["start"], params["end"] = self.window()
        if self.dice.random() < 0.15:
            limit = params["limit"] = self.dice.choice([1, 3, 10])
            text += " with(most_recent=true)"
        if self.dice.random() < 0.15:
            spss = params["spss"] = self.dice.choice([1, 2, 5])
        try:
            return "/api/search", {"q": text, **params}, ask.expected_search(self.traces, stages, window, limit, spss)
        except pipeline.SeveralSpansets:
            return "/api/search", {"q": text, **params}, SEVERAL

    def window(self):
        return self.base + self.dice.randrange(300), self.base + self.dice.randrange(300, 620)

    def metrics(self):
        query = self.queries.series()
        start, end = self.window() if self.dice.random() < 0.6 else (self.base - 60, self.base + 660)
        params = {"q": queries.query_text(query, self.dice), "start": start, "end": end}
        path, step = "/api/metrics/query", self.dice.choice([None, None, 10, 60, 47])
        if step:
            path, params = "/api/metrics/query_range", {**params, "step": f"{step}s", "exemplars": 0}
        grid = metrics.Grid(start * SECOND, end * SECOND, step and step * SECOND)
        try:
            return path, params, ask.expected_metrics(self.traces, query, grid)
        except pipeline.SeveralSpansets:
            return path, params, SEVERAL


def answer(server, path, params):
    """The server's answer in the form of the expected one."""
    response = server.get(path, **params)
    if response.status_code != 200:
        return SEVERAL if response.status_code == 400 and "multiple spansets" in response.text else f"{response.status_code} {response.text}"
    if path == "/api/search":
        return ask.got_search(response.json())
    return ask.got_metrics(response.json(), params["end"] * SECOND if path == "/api/metrics/query" else None)
