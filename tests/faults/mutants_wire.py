"""Mutants of the wire's rows, for `mutate.py`: each step that verifies or decides, switched off."""

WIRE = "tests/faults/test_wire.py::test_"
BYTES = "tests/faults/test_wire_bytes.py::test_"
STORE = "tests/faults/test_wire_store.py::test_"
ELSEWHERE = f"{STORE}f24_an_entry_that_belongs_elsewhere"
SIZES = "tests/faults/test_wire_bounds.py::test_f30_hostile_sizes"

MUTANTS = [
    (
        "f01",
        "mlshared/_refresh.py",
        "self._look_not_before = self._look_failed_at + backoff(self._failed_looks, longest)",
        "self._look_not_before = 0.0",
        f"{WIRE}f01_refused_or_reset[refused]",
    ),
    (
        "f01",
        "mlshared/_refresh.py",
        "        self._store_error = error\n        self._notes.failed(error, None, self.model.loaded)",
        "        self._notes.failed(error, None, self.model.loaded)",
        f"{WIRE}f01_refused_or_reset[reset]",
    ),
    (
        "f02",
        "mlshared/_loop.py",
        "asyncio.wait_for(_over(live, self._connect, work), timeout)",
        "_over(live, self._connect, work)",
        f"{WIRE}f02_nothing_or_a_byte_now_and_then[entry-hang]",
    ),
    (
        "f02",
        "mlshared/store.py",
        "left = self._deadline - time.monotonic()",
        "left = 10.0",
        f"{WIRE}f02_a_blob_ends_at_the_deadline_too[hang]",
    ),
    (
        "f02",
        "mlshared/_worker.py",
        "lambda: self._refresh(followed), timeout_seconds=timeout_seconds",
        "lambda: self._refresh(followed), timeout_seconds=60",
        f"{WIRE}f02_refresh_and_start_up_wait_no_longer_than_told[hang]",
    ),
    (
        "f02",
        "mlshared/_worker.py",
        "self.tried.wait(min(REQUEST_WAIT_SECONDS, first_load))",
        "self.tried.wait(60)",
        f"{WIRE}f02_refresh_and_start_up_wait_no_longer_than_told[hang]",
    ),
    (
        "f03",
        "mlshared/_bucket.py",
        '"total_max_attempts": 2',
        '"total_max_attempts": 8',
        f"{WIRE}f03_errors_for_ever[503]",
    ),
    (
        "f03",
        "mlshared/_bucket.py",
        "connection.fs.retries = 1",
        "connection.fs.retries = 5",
        f"{WIRE}f03_errors_for_ever[503]",
    ),
    (
        "f03",
        "mlshared/_refresh.py",
        "None if self._confirmed is None else time.monotonic() - self._confirmed",
        "0.0",
        f"{WIRE}f03_errors_for_ever[500]",
    ),
    (
        "f04",
        "mlshared/_remote.py",
        "if status in {401, 403} or isinstance(error, PermissionError) or _looks_stale(error):",
        "if False:",
        f"{WIRE}f04_forbidden",
    ),
    (
        "f04",
        "mlshared/_remote.py",
        "            if _looks_stale(error):\n                self.close()",
        "            if False:\n                self.close()",
        f"{WIRE}f04_expired_credentials",
    ),
    (
        "f05",
        "mlshared/_remote.py",
        "except Exception as error:  # each file system",
        "except OSError as error:  # each file system",
        f"{BYTES}f05_a_truncated_body[blob-moto]",
    ),
    (
        "f07",
        "mlshared/_load.py",
        (
            "    try:\n        raw = host.store.blob(manifest.model, manifest.publish_id, artifact)\n"
            "    except IntegrityError:\n"
        ),
        (
            "    try:\n        raw = host.store.blob(manifest.model, manifest.publish_id, artifact)\n"
            "    except IntegrityError:\n        raise\n"
        ),
        f"{BYTES}f07_wrong_once_is_asked_for_again_at_once[blob-moto]",
    ),
    (
        "f07",
        "mlshared/_load.py",
        "            raw = _manifest_bytes(host.store, model, target)\n        except IntegrityError:\n",
        (
            "            raw = _manifest_bytes(host.store, model, target)\n        except IntegrityError:\n"
            "            raise\n"
        ),
        f"{BYTES}f07_wrong_once_is_asked_for_again_at_once[manifest-moto]",
    ),
    (
        "f07",
        "mlshared/store.py",
        "if len(raw) != artifact.size or hashlib.sha256(raw).hexdigest() != artifact.sha256:",
        "if len(raw) != artifact.size:",
        f"{BYTES}f10_replaced_in_the_store[blob-moto]",
    ),
    (
        "f07",
        "mlshared/_alias_log.py",
        (
            '            if stored.trust != "signed":\n                self._check_again(store, raw, number)\n'
            "            self._accept("
        ),
        "            self._accept(",
        f"{BYTES}f07_any_flipped_bit_of_an_entry[polling-moto]",
    ),
    (
        "f07",
        "mlshared/_alias_log.py",
        (
            '            if stored.trust != "signed":\n                self._check_again(store, raw, number)\n'
            "            self._check_previous("
        ),
        "            self._check_previous(",
        f"{BYTES}f07_any_flipped_bit_of_an_entry[cold-moto]",
    ),
    (
        "f07",
        "mlshared/_alias_log.py",
        "        except ArtifactError:\n            self._check_again(store, raw, number)\n            raise\n",
        "        except ArtifactError:\n            raise\n",
        f"{BYTES}f07_any_flipped_bit_of_an_entry[cold-moto]",
    ),
    (
        "f07",
        "mlshared/store.py",
        "if self._get(IDENTITY_KEY, MAX_ENTRY_BYTES) != raw:",
        "if False:",
        f"{BYTES}f07_a_flipped_bit_of_the_identity[moto]",
    ),
    (
        "f08",
        "mlshared/_envelope.py",
        '        raise IntegrityError(f"not strict JSON: {str(error)[:120]}") from error',
        "        raise",
        f"{BYTES}f08_another_body_with_status_200[entry-html-moto]",
    ),
    (
        "f08",
        "mlshared/store.py",
        "except (ValidationError, IntegrityError) as error:",
        "except ValidationError as error:",
        f"{BYTES}f08_instead_of_the_identity[moto]",
    ),
    (
        "f09",
        "mlshared/_bucket.py",
        "await _copy(body, write, limit + 1)",
        "await _copy(body, write, limit * 1000)",
        f"{BYTES}f09_an_endless_body[entry-moto]",
    ),
    (
        "f09",
        "mlshared/store.py",
        "if raw is not None and len(raw) > limit:",
        "if False:",
        f"{BYTES}f09_an_endless_body[manifest-moto]",
    ),
    (
        "f10",
        "mlshared/_load.py",
        "if hashlib.sha256(raw).hexdigest() != target.manifest_sha256:",
        "if False:",
        f"{BYTES}f10_replaced_in_the_store[manifest-moto]",
    ),
    (
        "f11",
        "mlshared/_load.py",
        'raise StorageError(f"the manifest of {model}@{target.version} is missing',
        'raise IntegrityError(f"the manifest of {model}@{target.version} is missing',
        f"{STORE}f11_a_release_of_what_is_missing[manifest-moto]",
    ),
    (
        "f11",
        "mlshared/store.py",
        '        if raw is None:\n            raise StorageError(f"{key} is missing',
        '        if raw is None:\n            raise IntegrityError(f"{key} is missing',
        f"{STORE}f11_a_release_of_what_is_missing[blob-moto]",
    ),
    (
        "f12",
        "mlshared/_alias_log.py",
        "due = self._clock() - self._confirmed > CONFIRM_SECONDS",
        "due = False",
        f"{STORE}f12_the_bucket_is_emptied_or_deleted[emptied-moto]",
    ),
    (
        "f12",
        "mlshared/_alias_log.py",
        "if known > max(numbers, default=0):",
        "if False:",
        f"{STORE}f12_the_bucket_is_emptied_or_deleted[emptied-moto]",
    ),
    (
        "f12",
        "mlshared/_bucket.py",
        'if server_said(error)[0] == "NoSuchKey":',
        "if True:",
        f"{STORE}f12_the_bucket_is_emptied_or_deleted[deleted-moto]",
    ),
    (
        "f24",
        "mlshared/store.py",
        "if found != (store_id, model, alias, number):",
        "if False:",
        f"{ELSEWHERE}[another model's-moto]",
    ),
    (
        "f24",
        "mlshared/manifest.py",
        'if payload.get("type") != kind.TYPE:',
        "if False:",
        f"{ELSEWHERE}[an unknown type-moto]",
    ),
    (
        "f24",
        "mlshared/_alias_log.py",
        "or entry.prev.sha256 == head.sha256",
        "or True",
        f"{ELSEWHERE}[after another entry-moto]",
    ),
    (
        "f24",
        "mlshared/store.py",
        (
            '    _check_store(entry.store, store_id, f"{version_key(model, version)} holds a manifest")\n'
            "    if (entry.store, entry.model, entry.version) != (store_id, model, version):"
        ),
        "    if False:",
        f"{STORE}f24_a_manifest_that_belongs_elsewhere[moto]",
    ),
    (
        "f30",
        "mlshared/_envelope.py",
        "except (ValueError, RecursionError) as error:",
        "except ValueError as error:",
        SIZES,
    ),
    ("f30", "mlshared/_policy.py", "if most is not None and artifact.size > most:", "if False:", SIZES),
    ("f30", "mlshared/_policy.py", "if artifact.size > memory:", "if False:", SIZES),
    (
        "f30",
        "mlshared/_load.py",
        '    except (ValueError, RecursionError) as error:\n        raise IntegrityError(f"its categories',
        '    except ValueError as error:\n        raise IntegrityError(f"its categories',
        SIZES,
    ),
    ("f30", "mlshared/_skops_zip.py", "if data.count(_MEMBER) > MOST_MEMBERS:", "if False:", SIZES),
    ("f30", "mlshared/_skops_zip.py", "            _check_layout(data, file)\n", "", SIZES),
    (
        "f34",
        "mlshared/model.py",
        "        if self._override is None:\n            self._version = version",
        "        if self._version is None:\n            self._version = version",
        "tests/faults/test_large_swap.py::test_f34_a_large_version_is_swapped_in_under_load",
    ),
]
