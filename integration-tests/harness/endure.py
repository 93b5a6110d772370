"""A fault under load: what must hold while it lasts and after it, and how long the way back took."""
import time

from .load import Load, Prober, check_all
from .waiting import eventually


class Endured:
    """A cluster that is pushed to and asked while a test does things to it.

    At the end every answer that was given must have been right or marked, and everything acknowledged is found once,
    before and after the flush to blocks."""

    def __init__(self, cluster, warm_up=300, **load):
        self.cluster, self.warm_up = cluster, warm_up
        self.load = Load(cluster, **load)
        self.prober = Prober(self.load)
        self.began = self.ended = time.time()
        self.marks = []

    def __enter__(self):
        self.load.__enter__()
        self.prober.__enter__()
        try:
            self.load.run_until(self.warm_up)
            self.prober.await_right(time.time(), count=3)
        except BaseException:
            self._stop()
            raise
        return self

    def _stop(self):
        self.prober.stop()
        self.load.stop()

    def __exit__(self, kind, *_):
        self._stop()
        print(f"\npush: {self.load.report()}\nask: {self.prober.report()}")
        if kind is not None or self.prober.wrong:
            self.cluster.tails()
        if kind is not None:
            print("wrong answers:", *[text for _, _, text in self.prober.wrong[:5]], sep="\n")
            return
        wrong = self.prober.wrong
        if wrong:
            print("when:", *[f"{at:.2f} {what}" for at, what in self.marks], sep="\n")
        assert not wrong, f"{len(wrong)} wrong answers, not marked: {[f'{begun:.2f} {end:.2f} {text}' for begun, end, text in wrong[:5]]}"
        self.cluster.endured.append(self.load)
        try:
            check_all(self.load)
            self.cluster.flush()
            check_all(self.load)
        except AssertionError:
            self.cluster.tails()
            raise

    def fault(self):
        """The fault begins."""
        self.began = time.time()
        self.mark("fault")

    def mark(self, what):
        """Something happens now that a report of wrong answers should show."""
        self.marks.append((time.time(), what))

    def recovered(self, what, timeout=40, pushes=10, right=6):
        """The fault is over: waits until pushes and answers are good again, and prints how long each took."""
        self.ended = time.time()
        self.mark(f"end of {what}")
        eventually(lambda: self._pushed_well(self.ended, pushes), f"pushes are good again: {self.load.report()}", timeout)
        self.prober.await_right(self.ended, right, timeout)
        pushes, answers = [at for at, _ in self.load.failures(self.began)], self.prober.troubles(self.began)
        print(f"\nrecovery after {what}, begun {self.ended - self.began:.1f} s before: " + ", ".join(
            f"{name} {max([*times, self.ended]) - self.ended:.2f} s ({len(times)} bad since the beginning"
            + (f", the last {max(times) - self.began:.2f} s after it)" if times else ")")
            for name, times in (("pushes", pushes), ("answers", answers))))

    def _pushed_well(self, since, count):
        """So many pushes were acknowledged since the last failure after `since`."""
        last = max([since, *[at for at, _ in self.load.failures(since)]])
        return sum(1 for at in self.load.good[-500:] if at >= last) >= count

    def await_pushes(self, count, timeout=20):
        """Pushes go on while the fault lasts."""
        since = time.time()
        eventually(
            lambda: sum(1 for at in self.load.good[-2000:] if at >= since) >= count,
            f"{count} pushes acknowledged: {self.load.report()}", timeout)

    def push_failures(self):
        return [what for _, what in self.load.failures(self.began)]

    def query_failures(self):
        return [text for begun, end, text in self.prober.failed if end >= self.began]

    def partial_answers(self):
        return [kind for begun, end, kind in self.prober.partial if end >= self.began]

    def assert_unnoticed(self):
        """No client saw anything of what happened since the fault began."""
        assert not self.push_failures(), self.push_failures()[:5]
        assert not self.query_failures(), self.query_failures()[:5]
        assert not self.partial_answers(), f"{len(self.partial_answers())} partial answers"
