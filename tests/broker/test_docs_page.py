"""The page that describes the API works without anybody else's server."""

import re
import urllib.request

from dev.running import Broker


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_the_docs_page_loads_everything_from_the_broker(broker_server: Broker) -> None:
    page = _get(f"{broker_server.address}/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert all(address.startswith("/") for address in loaded)
    assert all(_get(broker_server.address + address) for address in loaded if ".png" not in address)
    assert "cdn." not in page
