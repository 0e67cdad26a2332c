"""TLS to other servers."""

from functools import cache
from ssl import SSLContext

import httpx


@cache
def trusted() -> SSLContext:
    """The certificate authorities that certifi knows, or those of `SSL_CERT_FILE`; reading them takes long."""
    return httpx.create_ssl_context(trust_env=True)
