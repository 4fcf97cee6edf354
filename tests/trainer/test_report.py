import io
import json

import pytest

from trainer import _report
from trainer._outcome import Outcome
from trainer.checks import Check


def outcome(**changes):
    values = {
        "name": "flights",
        "version": 2,
        "ref": "flights@2",
        "released": True,
        "on_hold": False,
        "reason": "every check passed",
        "checks": (
            Check("roc_auc at least 0.7", True, "0.81"),
            Check("[bold]x[/]", False, "on [3].distance " * 30),
        ),
        "metrics": {"roc_auc": 0.81, "accuracy": 0.7},
        "champion_metrics": {"roc_auc": 0.8},
        "champion_version": 1,
        "plan_report": None,
        "seconds": 1.5,
    }
    return Outcome(**{**values, **changes})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines(capsys):
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_table_holds_candidate_and_version_in_force(capsys):
    """By metric, with the difference; '-' where one was not scored."""
    _report.print_outcome(outcome())
    out = lines(capsys)
    assert out[0] == "metric flights@2 flights@1 difference"
    assert out[1] == "roc_auc 0.81 0.8 +0.01"
    assert out[2] == "accuracy 0.7 - -"


def test_every_check_is_one_line_without_a_terminal(capsys):
    """However long; brackets are text, not markup; nothing is coloured or wrapped."""
    _report.print_outcome(outcome())
    out = capsys.readouterr().out
    assert "[bold]x[/]" in out
    assert ("on [3].distance " * 30).strip() in out
    assert "\x1b" not in out
    assert not any(line.endswith(" ") for line in out.splitlines())


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "flights@2 is released: every check passed"),
        (
            {"released": False, "reason": "a check failed"},
            "flights@2 is published, not released: a check failed",
        ),
        (
            {"released": False, "on_hold": True, "reason": "audit"},
            "flights@2 is published, and on hold: audit",
        ),
    ],
)
def test_the_last_line_is_the_verdict(capsys, changes, verdict):
    """What became of it, and why."""
    _report.print_outcome(outcome(**changes))
    assert lines(capsys)[-1] == verdict


def test_the_first_version_has_nothing_beside_it(capsys):
    """No version in force: the column is empty."""
    _report.print_outcome(outcome(champion_metrics=None, champion_version=None))
    assert lines(capsys)[:2] == ["metric flights@2 in force difference", "roc_auc 0.81 - -"]


def test_a_plan_report_is_shown(capsys):
    """One line."""
    _report.print_outcome(outcome(plan_report="plan: equal on 400 rows"))
    assert "plan: equal on 400 rows" in lines(capsys)


def test_json_is_one_strict_object(capsys):
    """NaN, which JSON lacks, is null."""
    _report.print_json(_report.outcome_json(outcome(metrics={"roc_auc": float("nan")})))
    value = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert value["metrics"] == {"roc_auc": None}
    assert value["checks"][0] == {"name": "roc_auc at least 0.7", "passed": True, "message": "0.81"}


def test_steps_go_to_stderr_with_their_seconds(capsys):
    """A step is printed when the next begins, or the work ends."""
    with _report.Progress("flights") as progress:
        progress.step("load", "1,000 rows")
        progress.step("fit")
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first.startswith("flights: load (1,000 rows)  ")
    assert second.startswith("flights: fit  ")
    assert second.endswith(" s")


def test_a_step_that_failed_is_not_shown_as_done(capsys):
    """The error says what happened to it."""

    def work():
        with _report.Progress("flights") as progress:
            progress.step("load")
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert capsys.readouterr().err == ""


def test_quiet_shows_no_steps(capsys):
    """For cron."""
    with _report.Progress("flights", quiet=True) as progress:
        progress.step("load")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_colours():
    """And a pipe does not."""
    assert _report.console(Terminal()).is_terminal
    assert not _report.console(io.StringIO()).is_terminal


def test_a_problem_is_one_line_on_stderr(capsys):
    """Whatever the message holds."""
    _report.print_problem("store\n  gone [bold]")
    assert capsys.readouterr() == ("", "trainer: store gone [bold]\n")


def test_nothing_from_a_store_steers_a_terminal(capsys):
    """Escapes and line breaks are shown as what they are."""
    forged = "ok\x1b[2J\nFAILED line"
    _report.print_table(("reason",), [(forged,)])
    _report.print_lines([forged])
    _report.print_problem(forged)
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert not any(line.startswith("FAILED") for line in (shown.out + shown.err).splitlines())
