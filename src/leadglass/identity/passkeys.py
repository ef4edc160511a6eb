"""Passkeys: WebAuthn level 3, discoverable, user verification required. Ref: W3C WebAuthn 7.1, 7.2."""

import json
from dataclasses import dataclass
from typing import Any, Final

import webauthn
from webauthn.helpers.exceptions import InvalidJSONStructure, WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from leadglass.errors import Malformed, Unproven

__all__ = ["Registered", "RelyingParty", "Used", "credential_id_of"]

_MAX_RESPONSE: Final = 65536
_TIMEOUT_MS: Final = 120_000


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A new passkey, verified."""

    credential_id: bytes
    public_key: bytes
    counter: int
    is_device_bound: bool  # not a backed-up, many-device credential
    aaguid: str


@dataclass(frozen=True, kw_only=True)
class Used:
    """A passkey that has just been used, verified."""

    counter: int
    is_device_bound: bool


@dataclass(frozen=True, kw_only=True)
class RelyingParty:
    """The server as authenticators know it: the RP ID is the host name, the origin our own pages'."""

    rp_id: str
    origin: str
    name: str = "Leadglass"

    def registration_options(
        self, *, user_handle: bytes, name: str, display_name: str, challenge: bytes, exclude: list[bytes]
    ) -> dict[str, Any]:
        """Return the options for navigator.credentials.create, as JSON values."""
        options = webauthn.generate_registration_options(
            rp_id=self.rp_id, rp_name=self.name, user_id=user_handle, user_name=name, user_display_name=display_name,
            challenge=challenge, timeout=_TIMEOUT_MS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=known) for known in exclude],
        )
        found: dict[str, Any] = json.loads(webauthn.options_to_json(options))
        return found

    def verify_registration(self, response: dict[str, Any], challenge: bytes) -> Registered:
        """Return the verified passkey. Raises: Malformed, in words for the person."""
        _check_size(response)
        try:
            found = webauthn.verify_registration_response(
                credential=response, expected_challenge=challenge, expected_rp_id=self.rp_id,
                expected_origin=self.origin, require_user_verification=True,
            )
        except (WebAuthnException, InvalidJSONStructure, ValueError, KeyError, TypeError) as e:
            raise Malformed("the passkey could not be verified; please try again.") from e
        return Registered(
            credential_id=found.credential_id, public_key=found.credential_public_key, counter=found.sign_count,
            is_device_bound=str(found.credential_device_type.value) == "single_device", aaguid=found.aaguid,
        )

    def authentication_options(self, *, challenge: bytes) -> dict[str, Any]:
        """Return the options for navigator.credentials.get: no list of credentials, so that nothing tells who is known."""
        options = webauthn.generate_authentication_options(
            rp_id=self.rp_id, challenge=challenge, timeout=_TIMEOUT_MS,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        found: dict[str, Any] = json.loads(webauthn.options_to_json(options))
        return found

    def verify_use(self, response: dict[str, Any], challenge: bytes, *, public_key: bytes, counter: int) -> Used:
        """Return the verified use: signature, challenge, origin, RP ID, user verified, counter not going back.

        Raises: Unproven.
        """
        _check_size(response)
        try:
            found = webauthn.verify_authentication_response(
                credential=response, expected_challenge=challenge, expected_rp_id=self.rp_id,
                expected_origin=self.origin, credential_public_key=public_key, credential_current_sign_count=counter,
                require_user_verification=True,
            )
        except (WebAuthnException, InvalidJSONStructure, ValueError, KeyError, TypeError) as e:
            raise Unproven("the passkey could not be verified; please try again.") from e
        return Used(
            counter=found.new_sign_count, is_device_bound=str(found.credential_device_type.value) == "single_device"
        )


def credential_id_of(response: dict[str, Any]) -> bytes:
    """Return the credential id that a response names. Raises: Unproven."""
    try:
        return webauthn.base64url_to_bytes(str(response["rawId"]))
    except (KeyError, ValueError, TypeError) as e:
        raise Unproven("the passkey could not be verified; please try again.") from e


def _check_size(response: dict[str, Any]) -> None:
    if len(json.dumps(response)) > _MAX_RESPONSE:
        raise Malformed("the passkey's answer is too large.")
