"""What a client is told about each of the driver's errors."""

from typing import Any

import pytest
from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
)

from app.kit.database_errors import translate
from tests.kit.samples import SampleRepository, sample


def failure(code: int, message: str = "") -> OperationFailure:
    return OperationFailure(message, code, {"errmsg": message, "code": code})


INTERRUPTED = "operation was interrupted"
"""What a primary says that steps down while it waits for a majority: the write may stay or be rolled back."""


def uncertain() -> OperationFailure:
    return OperationFailure(INTERRUPTED, 11602, {"errorLabels": ["UnknownTransactionCommitResult"]})


def conflicting() -> OperationFailure:
    return OperationFailure("", 251, {"errorLabels": ["TransientTransactionError"]})


@pytest.mark.parametrize(
    ("error", "on_read", "on_write"),
    [
        (ExecutionTimeout("", 50, {}), "query_too_expensive", "outcome_unknown"),
        (failure(292), "query_too_expensive", "query_too_expensive"),
        (failure(51111, "x :: Invalid Regex in $regexMatch: missing )"), "invalid_pattern", "invalid_pattern"),
        (failure(51156), "query_too_expensive", "query_too_expensive"),
        (failure(112), "unavailable", "unavailable"),
        (failure(10334), "payload_too_large", "payload_too_large"),
        (conflicting(), "unavailable", "unavailable"),
        (uncertain(), "unavailable", "outcome_unknown"),
        (failure(11602, INTERRUPTED), "unavailable", "outcome_unknown"),
        (failure(91, "shutting down"), "unavailable", "outcome_unknown"),
        (failure(211, "No keys found for HMAC"), "unavailable", "outcome_unknown"),  # of members that just started
        (WriteConcernError(INTERRUPTED, 11602), "unavailable", "outcome_unknown"),
        (WriteConcernError("waiting for replication timed out", 64), "unavailable", "outcome_unknown"),
        (
            BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 11602, "errmsg": INTERRUPTED}]}),
            "unavailable",
            "outcome_unknown",
        ),
        (AutoReconnect("closed"), "unavailable", "outcome_unknown"),
        (NetworkTimeout("slow"), "unavailable", "outcome_unknown"),
        (ServerSelectionTimeoutError("none"), "unavailable", "unavailable"),
        (WaitQueueTimeoutError("full"), "unavailable", "unavailable"),
        (DocumentTooLarge("big"), "payload_too_large", "payload_too_large"),
        (InvalidDocument("no"), "invalid", "invalid"),
        (OverflowError("big"), "invalid", "invalid"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), "invalid", "invalid"),
    ],
)
def test_an_error_has_its_code_for_reads_and_for_writes(error: Exception, on_read: str, on_write: str) -> None:
    for is_write, code in ((False, on_read), (True, on_write)):
        known = translate(error, is_write=is_write)
        assert known is not None
        assert known.code == code
        assert ("Retry-After" in known.headers) == (known.status == 503)


@pytest.mark.parametrize("error", [failure(9, "FailedToParse"), KeyError("x"), BulkWriteError({"writeErrors": []})])
def test_a_fault_of_ours_is_not_blamed_on_the_client(error: Exception) -> None:
    assert translate(error, is_write=True) is None


async def test_a_duplicate_names_its_field_alone_and_in_a_bulk(samples: SampleRepository) -> None:
    taken = sample(1)
    await samples.collection.insert_one(taken)

    for attempt in (samples.collection.insert_one(dict(taken)), samples.collection.insert_many([dict(taken)])):
        with pytest.raises((DuplicateKeyError, BulkWriteError)) as caught:
            await attempt
        known = translate(caught.value, is_write=True)
        assert known is not None
        assert (known.status, known.members["fields"]) == (
            409,
            [{"field": "body.id", "message": "is taken already"}],
        )


@pytest.mark.mongod
@pytest.mark.parametrize(
    "value", [2**63, "\ud800", {1, 2}, "x" * (17 * 1024 * 1024)], ids=["int", "text", "set", "big"]
)
async def test_what_the_real_driver_refuses_to_store_is_never_a_fault_of_ours(
    samples: SampleRepository, value: Any
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 which one is the driver's affair
        await samples.collection.insert_one(sample(1, extra=value))

    known = translate(caught.value, is_write=True)
    assert known is not None
    assert known.status in {413, 422}
