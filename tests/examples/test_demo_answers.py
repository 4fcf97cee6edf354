"""What the demo reads from its answers: failures, wrong answers, changes, latencies."""

import math

from examples.demo.answers import Answer, changes, failures, percentile, went_back, workers, wrong


def answer(at: float, worker: int, version: int, probability: float = 0.5, seconds: float = 0.01) -> Answer:
    return Answer(at, seconds, 0, worker, version, probability)


def test_failures_say_what_went_wrong() -> None:
    """One text a failed request."""
    assert failures([answer(0, 1, 1), Answer(1, 0.1, 0, failure="refused")]) == ["refused"]


def test_an_answer_of_another_version_s_value_is_wrong() -> None:
    """Right is what the version it names predicts, not what any version does."""
    offline = {1: [0.25], 2: [0.75]}
    right, mixed = answer(0, 1, 1, 0.25), answer(0, 1, 1, 0.75)
    assert wrong([right, mixed], offline) == [mixed]


def test_a_failed_request_is_not_a_wrong_answer() -> None:
    """It has no value to compare."""
    assert wrong([Answer(0, 0.1, 0, failure="refused")], {}) == []


def test_an_answer_that_is_no_number_is_wrong() -> None:
    """NaN equals nothing."""
    assert len(wrong([answer(0, 1, 1, math.nan)], {1: [0.5]})) == 1


def test_a_worker_changes_with_its_first_answer() -> None:
    """Seconds from the release to the end of that answer."""
    seen = [answer(9, 7, 1), answer(11, 7, 2), answer(12, 7, 2), answer(13, 8, 2)]
    found = changes(seen, 2, since=10)
    assert sorted(found) == [7, 8]
    assert math.isclose(found[7], 1.01)


def test_answers_before_the_release_are_no_change() -> None:
    """After a rollback the old version is the new one."""
    assert changes([answer(5, 7, 1)], 1, since=10) == {}


def test_a_request_that_was_under_way_at_the_change_did_not_go_back() -> None:
    """Another thread of that worker had taken the old version before."""
    assert went_back([answer(11, 7, 2), answer(10.9, 7, 1, seconds=0.5)], 1, 2, since=10) == []


def test_a_request_sent_after_the_change_must_not_get_the_old_version() -> None:
    """Not from the same worker; another may not have changed yet."""
    late, other = answer(12, 7, 1), answer(12, 8, 1)
    assert went_back([answer(11, 7, 2), late, other], 1, 2, since=10) == [late]


def test_workers_are_those_that_answered() -> None:
    """A failed request names none."""
    assert workers([answer(0, 8, 1), answer(0, 7, 1), Answer(0, 1, 0, failure="x")]) == [7, 8]


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank."""
    seen = [answer(0, 1, 1, seconds=s / 100) for s in range(1, 101)]
    assert (percentile(seen, 50), percentile(seen, 99), percentile(seen, 100)) == (0.5, 0.99, 1.0)
    assert math.isnan(percentile([], 50))
