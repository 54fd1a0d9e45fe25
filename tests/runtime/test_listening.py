"""Addresses that a page is served at."""

from __future__ import annotations

import socket

import pytest

from pmd_jax.runtime import listening
from pmd_jax.runtime.errors import InputError


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_it_listens_at_an_address_of_ipv6(host):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening.listen(host, 0) as heard:
        assert heard.getsockname()[0] == "::1"
    assert listening.address_of(host, 80) == "http://[::1]:80"


def test_a_name_is_heard_at_its_address_of_ipv4():
    with listening.listen("localhost", 0) as heard:
        assert heard.getsockname()[0] == "127.0.0.1"
    assert listening.address_of("localhost", 80) == "http://localhost:80"


def test_a_host_that_is_none_gets_a_sentence():
    with pytest.raises(InputError, match=r"--host=no such host --port=80: cannot listen there"):
        listening.listen("no such host", 80)
