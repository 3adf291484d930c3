"""How a Kafka cluster is reached: what a site's YAML says, and the keywords that kafka-python's clients take for it.

Used for the log itself (`site.yaml`) and for a stream's source topic (`streams/NAME.yaml`). Passwords come from a file
or the environment, never from YAML.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster and how we present ourselves to it."""

    bootstrap: Annotated[list[str], msgspec.Meta(min_length=1)]
    """`host:port` of some brokers."""
    tls: bool = False
    ca_file: str | None = None
    """Who signed the brokers' certificates; left out: the system's authorities."""
    cert_file: str | None = None
    key_file: str | None = None
    """Our own certificate, for mutual TLS."""
    user: str | None = None
    """SASL/SCRAM user; left out: no SASL."""
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256"] = "SCRAM-SHA-512"
    password_file: str | None = None
    password_env: str | None = None
    """Where the user's password is; one of the two, with `user`."""

    def client(self, password: str | None = None) -> dict[str, Any]:
        """Keywords for kafka-python's consumer, producer and admin client."""
        known: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "security_protocol": ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT"),
        }
        if self.tls:
            known |= {"ssl_check_hostname": True, "ssl_cafile": self.ca_file}
            known |= {"ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        if self.user:
            known |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": password,
            }
        return known
