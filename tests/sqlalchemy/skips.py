"""A pytest plugin: lists what was skipped by its reason, and lets the run fail when a
reason is not one of requirements.py."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

SKIPPED = pytest.StashKey[Counter[str]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Classes whose requirement is closed are not even collected: counted here."""
    from sqlalchemy.testing import config

    skipped: Counter[str] = Counter()
    for module in {item.getparent(pytest.Module).obj for item in session.items}:
        for name, tests in vars(module).items():
            if not isinstance(tests, type) or name.startswith("_"):
                continue
            for requirement in getattr(tests, "__requires__", ()):
                rule = getattr(config.requirements, requirement)
                for reason in rule.matching_config_reasons(config._current):
                    skipped[reason] += sum(n.startswith("test_") for n in dir(tests))
    session.config.stash[SKIPPED] = skipped


def skipped_by_reason(config: pytest.Config) -> Counter[str]:
    """The reasons are ours, or else whole messages."""
    from requirements import REASONS

    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    messages = config.stash.get(SKIPPED, Counter()).copy()
    messages.update(report.longrepr[2] for report in reporter.stats.get("skipped", ()))
    counted: Counter[str] = Counter()
    for message, count in messages.items():
        known = [reason for reason in REASONS if message.endswith(reason)]
        counted[known[0] if known else f"(unexplained) {message}"] += count
    return counted


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reasons = skipped_by_reason(session.config)
    if exitstatus == 0 and any(text.startswith("(unexplained)") for text in reasons):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for reason, count in sorted(skipped_by_reason(config).items()):
        terminalreporter.write_line(f"{count:4} skipped: {reason}")
