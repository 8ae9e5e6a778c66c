"""Signatures as the plugin daemon checks them (pkg/plugin_packager/signer/withkey).

The zip's comment holds ``{"signature", "time"}``: RSA, PKCS#1 v1.5 over SHA-256 of each
file's SHA-256, in the order of the zip, and the digits of the time. The operator who
installs the package lists the public key in
THIRD_PARTY_SIGNATURE_VERIFICATION_PUBLIC_KEYS.
"""

import base64
import hashlib
import json
import time
import zipfile
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


class BadSignature(Exception):
    """A key that can't be used, or a package that has changed since it was signed."""


def sign(package: Path, key: Path, now: int | None = None) -> None:
    """Sign a package in place. ``now`` is in seconds since the epoch."""
    private = _key(key, private=True)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise BadSignature(f"{key} holds no RSA private key; make one of 4096 bits.")
    moment = int(time.time()) if now is None else now
    signature = private.sign(
        _signed(package, moment), padding.PKCS1v15(), hashes.SHA256()
    )
    signed = {"signature": base64.b64encode(signature).decode(), "time": moment}
    with zipfile.ZipFile(package, "a") as archive:
        archive.comment = json.dumps(signed).encode()


def verify(package: Path, key: Path) -> None:
    """Raise BadSignature unless ``key``, public or private, has signed the package."""
    known = _key(key, private=False)
    public = known.public_key() if isinstance(known, rsa.RSAPrivateKey) else known
    with zipfile.ZipFile(package) as archive:
        comment = archive.comment
    try:
        signed = json.loads(comment)
        signature, moment = base64.b64decode(signed["signature"]), int(signed["time"])
    except (ValueError, KeyError, TypeError):
        raise BadSignature(f"{package.name} is not signed.") from None
    try:
        data = _signed(package, moment)
        public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        msg = f"{package.name} was changed, or signed with another key."
        raise BadSignature(msg) from None


def _signed(package: Path, moment: int) -> bytes:
    with zipfile.ZipFile(package) as archive:
        digests = [
            hashlib.sha256(archive.read(name)).digest() for name in archive.namelist()
        ]
    return b"".join(digests) + str(moment).encode()


def _key(path: Path, *, private: bool) -> rsa.RSAPrivateKey | rsa.RSAPublicKey:
    try:
        data = path.read_bytes()
        if private or b"PRIVATE KEY" in data:
            key: object = serialization.load_pem_private_key(data, password=None)
        elif b"BEGIN PUBLIC KEY" in data:
            msg = (
                f"{path} is a public key in a form that the plugin daemon does not read; "
                "write it with openssl rsa -RSAPublicKey_out."
            )
            raise BadSignature(msg)
        else:
            key = serialization.load_pem_public_key(data)
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path} can't be read as an RSA key in PEM: {type(error).__name__}."
        raise BadSignature(msg) from None
    if not isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        raise BadSignature(f"{path} holds a key of another kind than RSA.")
    return key
