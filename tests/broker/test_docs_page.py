"""The page that describes the API works without anybody else's server."""

import re

import httpx2

from dev.running import Broker


def test_the_docs_page_loads_everything_from_the_broker(broker_server: Broker) -> None:
    with httpx2.Client(base_url=broker_server.address) as client:
        page = client.get("/docs").text
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert loaded
        assert all(address.startswith("/") for address in loaded)
        assert all(client.get(address).is_success for address in loaded)
    assert "cdn." not in page
