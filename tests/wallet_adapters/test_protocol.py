"""The registry of versions."""

import pytest

from wallet_adapters import SPECIFICATIONS, WalletProtocolError, specification


def test_what_is_spoken() -> None:
    assert specification("openid4vci").version == "1.0"
    assert specification("openid4vp").version == "1.0"
    assert {name for name, entry in SPECIFICATIONS.items() if not entry.final} == {
        "sd-jwt-vc",
        "token-status-list",
    }


def test_what_is_not_spoken() -> None:
    with pytest.raises(WalletProtocolError) as refused:
        specification("siopv2")
    assert refused.value.code == "unknown_specification"
