"""Every parser there is. `test_inventory.py` fails when one is missing."""

from tests.fuzzing import of_broker, of_credentials, of_wallet_adapters

PARSERS = (*of_credentials.PARSERS, *of_wallet_adapters.PARSERS, *of_broker.PARSERS)
EXCLUDED = of_credentials.EXCLUDED | of_wallet_adapters.EXCLUDED | of_broker.EXCLUDED
