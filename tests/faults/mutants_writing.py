"""Mistakes that the tests of f13 to f17, f36, f38, f39 and f40 must notice: each switches one look or decision off.

`python tests/faults/mutate.py` applies them one by one and runs the test named.
"""

from typing import NamedTuple

try:
    from mutants import Mutant
except ImportError:

    class Mutant(NamedTuple):
        """One place of the code, and the test that must fail when it says something else."""

        row: str
        path: str
        old: str
        new: str
        test: str


WRITING = "tests/faults/test_writing.py::"
LOST = "tests/faults/test_writing_lost.py::"
COLLECT = "tests/faults/test_writing_collect.py::"

MUTANTS = [
    Mutant(
        "f13",
        "trainer/_append.py",
        "            return found == data\n",
        "            return False\n",
        f"{WRITING}test_f13_a_create_whose_answer_was_lost_counts_once",
    ),
    Mutant(
        "f14",
        "trainer/_append.py",
        "            found = _read_back(store, key, len(data), what, error)\n        if found",
        "            found = data\n        if found",
        f"{WRITING}test_f14_a_create_that_did_not_happen_is_sent_again",
    ),
    Mutant(
        "f14",
        "trainer/_append.py",
        "            return found == data\n",
        "            return True\n",
        f"{WRITING}test_f14_a_number_that_was_taken_meanwhile_is_left_to_its_owner",
    ),
    Mutant(
        "f14",
        "trainer/_append.py",
        "class OutcomeUnknown(StorageError):",
        "class OutcomeUnknown(ConfigError):",
        f"{WRITING}test_f14_an_unknown_outcome_is_said_and_exits_75",
    ),
    Mutant(
        "f14",
        "trainer/_append.py",
        "            found = _read_back(store, key, len(data), what, error)\n"
        "            if found is None:\n                raise\n",
        "            raise\n",
        f"{WRITING}test_f14_credentials_that_expire_meanwhile_leave_it_unknown",
    ),
    Mutant(
        "f15",
        "mlshared/_local.py",
        "                os.link(temporary, path)\n",
        "                temporary.replace(path)\n",
        f"{WRITING}test_f15_eight_processes_publish_twenty_times_each[a folder]",
    ),
    Mutant(
        "f15",
        "mlshared/_bucket.py",
        ', IfNoneMatch="*")',
        ")",
        f"{WRITING}test_f15_eight_processes_publish_twenty_times_each[S3]",
    ),
    Mutant(
        "f16",
        "mlshared/_local.py",
        "                _write_through(temporary, data)\n                os.link(temporary, path)\n",
        '                path.open("xb").close()\n                path.write_bytes(data)\n',
        f"{WRITING}test_f16_a_publisher_killed_at_every_step_leaves_old_or_new[a folder]",
    ),
    Mutant(
        "f17",
        "trainer/_append.py",
        "    _refuse_overwriting(store)\n",
        "",
        f"{WRITING}test_f17_a_store_that_ignores_if_none_match_is_refused",
    ),
    Mutant(
        "f17",
        "trainer/_doctor.py",
        "    if created or store",
        "    if False and store",
        f"{WRITING}test_f17_a_store_that_ignores_if_none_match_is_refused",
    ),
    Mutant(
        "f36",
        "trainer/_release.py",
        "    if head is not None and head.hold:\n",
        "    if False:\n",
        f"{WRITING}test_f36_a_rollback_with_hold_outlives_the_retrain_under_way",
    ),
    Mutant(
        "f38",
        "trainer/_lost.py",
        "    if ends < had:\n",
        "    if False:\n",
        f"{LOST}test_f38_trainers_refuse_a_lost_log_and_name_recover",
    ),
    Mutant(
        "f38",
        "trainer/_lost.py",
        "    return max(named, seen.number(log.store_id, log.model, log.alias))\n",
        "    return named\n",
        f"{LOST}test_f38_trainers_refuse_a_lost_log_and_name_recover",
    ),
    Mutant(
        "f38",
        "trainer/_lost.py",
        "    return max(named, seen.number(log.store_id, log.model, log.alias))\n",
        "    return seen.number(log.store_id, log.model, log.alias)\n",
        f"{LOST}test_f38_manifests_testify_where_no_host_remembers",
    ),
    Mutant(
        "f38",
        "trainer/_lost.py",
        "    found = testimony(store, store_id, model)\n    for alias",
        "    found: dict[str, int] = {}\n    for alias",
        f"{LOST}test_f38_manifests_testify_where_no_host_remembers",
    ),
    Mutant(
        "f38",
        "trainer/_retrain.py",
        "        check_log(opened, read_log(opened, store_id, recipe.name, alias), seen)\n",
        "",
        f"{LOST}test_f38_trainers_refuse_a_lost_log_and_name_recover",
    ),
    Mutant(
        "f38",
        "trainer/_release.py",
        "_lost(to, log) or _stop(",
        "_stop(",
        f"{LOST}test_f38_an_automatic_release_stops_too",
    ),
    Mutant(
        "f38",
        "trainer/_recover.py",
        "            reset=log.highest >= past,\n",
        "",
        f"{LOST}test_f38_readers_keep_what_they_have_and_follow_the_recovery",
    ),
    Mutant(
        "f38",
        "mlshared/_alias_log.py",
        " or entry.prev.sha256 == head.sha256 or entry.reset\n",
        " or entry.prev.sha256 == head.sha256\n",
        f"{LOST}test_f38_readers_keep_what_they_have_and_follow_the_recovery",
    ),
    Mutant(
        "f38",
        "trainer/_recover.py",
        "    while number <= past:\n",
        "    while number < past:\n",
        f"{LOST}test_f38_a_reader_of_any_entry_ends_at_the_recovery",
    ),
    Mutant(
        "f38",
        "trainer/_recover.py",
        "    if past < had:\n",
        "    if False:\n",
        f"{LOST}test_f38_recover_needs_to_pass_every_entry_known",
    ),
    Mutant(
        "f38",
        "trainer/_collect.py",
        "    check_log(to.store, log, to.seen)\n    if log.obscured",
        "    if log.obscured",
        f"{LOST}test_f38_commands_exit_1_and_doctor_and_gc_say_so",
    ),
    Mutant(
        "f39",
        "trainer/_writing.py",
        "    _refuse_tombstoned(to, log, entry)\n    if not append_entry(to, entry):\n",
        "    if not append_entry(to, entry):\n",
        f"{COLLECT}test_f39_a_version_set_aside_is_not_released",
    ),
    Mutant(
        "f39",
        "trainer/_writing.py",
        "        _take_back(to, log, entry)\n        raise\n",
        "        raise\n",
        f"{COLLECT}test_f39_every_order_with_a_rollback",
    ),
    Mutant(
        "f39",
        "trainer/_writing.py",
        "        _take_back(to, log, entry)\n        raise\n",
        "        raise\n",
        f"{COLLECT}test_f39_every_order_with_an_automatic_release",
    ),
    Mutant(
        "f39",
        "trainer/_collect.py",
        "    needed = newest | young | set(facts.in_use)\n",
        "    needed = newest | young\n",
        f"{COLLECT}test_f39_every_order_with_a_default_rollback",
    ),
    Mutant(
        "f39",
        "trainer/_collect.py",
        "    needed = newest | young | set(facts.in_use)\n",
        "    needed = newest | set(facts.in_use)\n",
        f"{COLLECT}test_f39_only_what_nobody_needs_is_deleted",
    ),
    Mutant(
        "f39",
        "trainer/_collect.py",
        "        named |= {entry.version} | ({entry.fallback.version} if entry.fallback else set())\n",
        "        named |= {entry.version}\n",
        f"{COLLECT}test_f39_every_order_with_a_default_rollback",
    ),
    Mutant(
        "f39",
        "trainer/_collect.py",
        "        wait=tuple(n for n in outside if n in marked and marked[n] < WAIT_SECONDS),\n"
        "        delete=tuple(n for n in outside if n in marked and marked[n] >= WAIT_SECONDS),\n",
        "        wait=(),\n        delete=tuple(n for n in outside if n in marked),\n",
        f"{COLLECT}test_f39_first_set_aside_a_day_later_deleted",
    ),
    Mutant(
        "f39",
        "trainer/_collect.py",
        "    return bool(ages) and min(ages) > GRACE_SECONDS\n",
        "    return bool(ages) and max(ages) > GRACE_SECONDS\n",
        f"{COLLECT}test_f39_blobs_of_a_publish_given_up_go_after_a_week",
    ),
    Mutant(
        "f39",
        "trainer/_collect.py",
        "    return bool(ages) and min(ages) > GRACE_SECONDS\n",
        "    return bool(ages)\n",
        f"{COLLECT}test_f39_every_order_with_a_publisher",
    ),
    Mutant(
        "f39",
        "trainer/_publish.py",
        "    while elapsed() <= COLLECTION_GRACE_SECONDS / 2:\n",
        "    while True:\n",
        f"{COLLECT}test_f39_a_publish_slower_than_half_the_grace_starts_afresh",
    ),
    Mutant(
        "f39",
        "trainer/_collect.py",
        "    if not unread:\n",
        "    if True:\n",
        f"{COLLECT}test_f39_where_it_cannot_be_told_everything_stays",
    ),
    Mutant(
        "f40",
        "trainer/_release.py",
        "            if not (verdict.passed or breaking):\n",
        "            if False:\n",
        f"{WRITING}test_f40_a_new_required_field_is_never_released_by_itself",
    ),
]
