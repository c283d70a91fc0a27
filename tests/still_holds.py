"""What still holds, in pytest's last lines: for someone who has upgraded something, or changed a lesson.

Which notebooks give what is stored in them, number for number, and whether each mistake is still told by its name.
"""
import re
from collections import defaultdict

import pytest

NOTEBOOK = re.compile(r"notebooks/(.+)\.ipynb::(.+)")
CHECKS = {      # tests of tests/test_checks.py, and what each is a proof of
    "test_a_right_answer_gets_a_tick_whatever_is_drawn": "right answers get their tick",
    "test_a_mistake_is_refused_and_named_whatever_is_drawn": "wrong answers are told their mistake",
    "test_a_mistake_of_a_table_is_told_with_its_own_sentence": "sentences of the checks are told, each for its own mistake",
}


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    lines = what_holds({report.nodeid: outcome for outcome in ("passed", "failed", "error")
                        for report in terminalreporter.stats.get(outcome, []) if hasattr(report, "nodeid")})
    if lines:
        terminalreporter.section("what still holds")
        for line in lines:
            terminalreporter.line(line)


def what_holds(outcomes):
    """The lines, from {test: "passed", "failed" or "error"}; none when neither a notebook nor a check was tested."""
    notebooks, checks = defaultdict(dict), defaultdict(list)
    for name, outcome in outcomes.items():
        if found := NOTEBOOK.search(name):
            notebooks[found[1]][found[2]] = outcome == "passed"
        for test, words in CHECKS.items():
            if f"::{test}[" in name:
                checks[words].append(outcome == "passed")
    lines = []
    for name, cells in sorted(notebooks.items()):
        wrong = ", ".join(cell for cell, holds in cells.items() if not holds)
        lines.append(f"{name}: {sum(cells.values())} of {len(cells)} cells as stored{f'; not {wrong}' if wrong else ''}")
    return lines + [f"{sum(checks[words]):,} of {len(checks[words]):,} {words}" for words in CHECKS.values() if checks[words]]
