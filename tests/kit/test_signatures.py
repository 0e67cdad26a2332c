"""Signatures of Standard Webhooks, against the vector of its reference libraries."""

import pytest

from app.kit.errors import WrongSignature
from app.kit.signatures import SignedMessage, new_secret, sign, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(**changes: str) -> dict[str, str]:
    return signed_headers([SECRET], ID, AT, BODY) | {name.replace("_", "-"): value for name, value in changes.items()}


def test_the_reference_vector() -> None:
    assert sign(SECRET, ID, AT, BODY) == SIGNATURE
    assert headers()["webhook-signature"] == SIGNATURE


def test_secrets_are_new_and_long() -> None:
    assert new_secret() != new_secret()
    assert len(new_secret()) == len("whsec_") + 44


def test_one_right_signature_among_others_is_enough() -> None:
    for keys in ([SECRET], [new_secret(), SECRET]):
        SignedMessage.from_headers(headers()).verify(keys, BODY, at=AT)
    many = f"v1a,x v1,aaaa {SIGNATURE}"
    SignedMessage.from_headers(headers(webhook_signature=many)).verify([SECRET], BODY, at=AT + 299)


@pytest.mark.parametrize(
    ("changes", "body", "at"),
    [
        ({}, BODY + b" ", AT),
        ({}, BODY, AT + 301),
        ({}, BODY, AT - 301),
        ({"webhook_id": "msg_other"}, BODY, AT),
        ({"webhook_id": ""}, BODY, AT),
        ({"webhook_id": "a b"}, BODY, AT),
        ({"webhook_timestamp": str(AT + 1)}, BODY, AT),
        ({"webhook_timestamp": "soon"}, BODY, AT),
        ({"webhook_timestamp": "-1"}, BODY, AT),
        ({"webhook_timestamp": "9" * 40}, BODY, AT),
        ({"webhook_timestamp": "१६१४२६५३३०"}, BODY, AT),
        ({"webhook_signature": ""}, BODY, AT),
        ({"webhook_signature": SIGNATURE.removeprefix("v1,")}, BODY, AT),
        ({"webhook_signature": SIGNATURE.replace("v1", "v2")}, BODY, AT),
        ({"webhook_signature": "é" * 50}, BODY, AT),
        ({"webhook_signature": "v1,x " * 10 + SIGNATURE}, BODY, AT),
    ],
)
def test_everything_else_is_wrong(changes: dict[str, str], body: bytes, at: int) -> None:
    with pytest.raises(WrongSignature):
        SignedMessage.from_headers(headers(**changes)).verify([SECRET], body, at=at)


def test_a_secret_that_is_none() -> None:
    with pytest.raises(ValueError, match="base64"):
        sign("whsec_???", ID, AT, BODY)
