"""Every parser there is. `test_inventory.py` fails when one is missing."""

from tests.fuzzing import of_broker, of_credentials, of_federation, of_wallet_adapters, of_zkp

PARSERS = (
    *of_credentials.PARSERS,
    *of_wallet_adapters.PARSERS,
    *of_broker.PARSERS,
    *of_zkp.PARSERS,
    *of_federation.PARSERS,
)
EXCLUDED = (
    of_credentials.EXCLUDED
    | of_wallet_adapters.EXCLUDED
    | of_broker.EXCLUDED
    | of_zkp.EXCLUDED
    | of_federation.EXCLUDED
)
