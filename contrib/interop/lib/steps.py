"""The record of what was tried: one line a step, and a closing line that counts them."""

import asyncio
import contextlib
import typing


class Failure(Exception):
    """A step did not go as it should; the text is the reason."""


class Abandoned(Exception):
    """The rest of a scenario makes no sense without the step that failed."""


def expect(condition: object, reason: str) -> None:
    """Fails the current step with `reason` unless `condition` holds."""
    if not condition:
        raise Failure(reason)


async def perform(stage, body: typing.Awaitable[None]) -> None:
    """Runs a scenario to its end; what goes wrong outside of its steps is one that failed."""
    try:
        await body
    except Abandoned:
        pass
    except Exception as error:
        with stage.step("the scenario runs to its end"):
            raise error


class Record:
    """Counts the steps of all scenarios. `gaps` maps titles to why the server under test is known not to pass them:
    such a failure is told and skipped, so that a run against another server stays meaningful."""

    def __init__(self, gaps: dict[str, str]):
        self.passed = self.failed = self.skipped = 0
        self._gaps = gaps

    @contextlib.contextmanager
    def step(self, scenario: str, title: str, needed: bool = False, gap: str | None = None):
        """Runs one step. A failure is recorded and swallowed, or ends the scenario if the step is `needed`. `gap`
        tells, beside those that the record knows, why it is known not to pass."""
        try:
            yield
        except Abandoned:
            raise
        except Exception as error:
            gap = gap or self._gaps.get(title)
            if gap and not needed:
                self.skipped += 1
                print(f"skipped  {scenario}: {title}: {gap}", flush=True)
                return
            self.failed += 1
            print(f"FAILED   {scenario}: {title}: {_reason(error)}", flush=True)
            if needed:
                raise Abandoned(title) from error
        else:
            self.passed += 1
            print(f"ok       {scenario}: {title}", flush=True)

    def closing_line(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def _reason(error: Exception) -> str:
    if isinstance(error, Failure):
        return str(error)
    if isinstance(error, asyncio.TimeoutError) and not str(error):
        return "timed out"
    return " ".join(f"{type(error).__name__}: {error}".split())
