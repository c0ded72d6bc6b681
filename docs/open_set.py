"""Opens one part of a backup set without lifeboat, and writes it to standard output, still compressed.

    python3 open_set.py DIRECTORY PART KEY
    python3 open_set.py FILE KEY

FILE is a message that stands alone: a file of a server's log, or what `lifeboat encrypt` made. DIRECTORY holds a set's manifest.json or an export's export.json; PART is a part's name there, as database.sql; KEY is
aes:FILE (32 bytes as hex or base64) or rsa:PRIVATE.pem, the file named as it was when the set was made or rewrapped,
or kms:ARN, with AWS credentials as every AWS program takes them. Needs aws-encryption-sdk 3.3.1 or newer.

Exit status 0 means that all of it was authenticated, and of a part that the data key is the one that the manifest was
made with and every stored byte has the digest that it states. docs/restore-by-hand.md says what to do with the output.
"""

import base64
import glob
import hashlib
import hmac
import json
import os
import re
import sys

import aws_encryption_sdk
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
from aws_encryption_sdk.identifiers import CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.kms import StrictAwsKmsMasterKeyProvider
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider
from aws_encryption_sdk.structures import EncryptedDataKey, MasterKeyInfo
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PIECE = 1 << 20
PURPOSES = {"manifest.json": b"lifeboat manifest mac v1", "export.json": b"lifeboat export mac v1"}


class KeyFile(RawMasterKeyProvider):
    """A key in a file: its name in every backup is the file's base name without extension."""

    provider_id = "lifeboat"

    def _get_raw_key(self, key_id):
        kind, path = sys.argv[-1].split(":", 1)
        with open(path, "rb") as file:
            content = file.read()
        if kind == "rsa":
            return WrappingKey(WrappingAlgorithm.RSA_OAEP_SHA256_MGF1, content, EncryptionKeyType.PRIVATE)
        text = content.decode().strip()
        key = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text)
        return WrappingKey(
            WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, key, EncryptionKeyType.SYMMETRIC)


def of_this_set(provider):
    """The provider, opening what belongs to the set in place of what a message's header holds."""

    class OfThisSet(provider):
        def decrypt_data_key_from_list(self, encrypted_data_keys, algorithm, encryption_context):
            for wrapped in SET["wrapped"]:
                try:
                    opened = super().decrypt_data_key_from_list([wrapped], algorithm, encryption_context)
                except AWSEncryptionSDKClientError:
                    continue
                if is_ours(opened.data_key):
                    return opened
            sys.exit("this key opens nothing of the set: it was neither made nor rewrapped for it")

    return OfThisSet


def is_ours(data_key):
    """Whether the manifest's authentication code was made with it; a forged record would give another key."""
    document = {name: value for name, value in SET["manifest"].items() if name not in ("mac", "signature")}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    salt = b"lifeboat: a key for the set as a whole, not for one message"
    key = HKDF(algorithm=SHA512(), length=32, salt=salt, info=SET["purpose"]).derive(data_key)
    return hmac.compare_digest(hmac.new(key, text, "sha256").hexdigest(), SET["manifest"]["mac"])


def read(directory):
    """The manifest, and every wrapping of its data key: of the newest record first, its own last."""
    index = next((name for name in PURPOSES if os.path.exists(os.path.join(directory, name))), None)
    if index is None:
        sys.exit(f"{directory} holds neither {' nor '.join(PURPOSES)}")
    records = glob.glob(os.path.join(glob.escape(directory), "records", "*-rewrap.json"))
    records.sort(key=lambda path: int(re.match(r"\d*", os.path.basename(path)).group() or 0), reverse=True)
    documents = []
    for path in records + [os.path.join(directory, index)]:
        with open(path, encoding="utf-8") as file:
            documents.append(json.load(file))
    wrapped = [
        EncryptedDataKey(
            key_provider=MasterKeyInfo(provider_id=key["provider"], key_info=bytes.fromhex(key["info"])),
            encrypted_data_key=bytes.fromhex(key["ciphertext"]))
        for document in documents
        for key in document["encryption_info"]["encrypted_data_keys"]]
    return {"manifest": documents[-1], "purpose": PURPOSES[index], "wrapped": wrapped}


def key_provider(key, opening):
    kind, name = key.split(":", 1)
    if kind == "kms":
        return opening(StrictAwsKmsMasterKeyProvider)(key_ids=[name])
    keys = opening(KeyFile)()
    keys.add_master_key(os.path.splitext(os.path.basename(name))[0].encode())
    return keys


def check_stored(path, segment):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    if digest.hexdigest() != segment["storedSHA256"]:
        sys.exit(f"{path} is damaged: its SHA-256 is not the manifest's")


def open_message(path, keys, check=lambda header: None):
    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    with open(path, "rb") as file, client.stream(mode="d", source=file, key_provider=keys) as message:
        check(message.header)
        while piece := message.read(PIECE):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def open_part(directory, name, key):
    manifest = SET["manifest"]
    part = next((part for part in manifest["parts"] if part["name"] == name), None)
    if part is None:
        sys.exit("the parts are " + ", ".join(part["name"] for part in manifest["parts"]))
    keys = key_provider(key, of_this_set)
    for segment in part["segments"]:
        path = os.path.join(directory, segment["path"])

        def check(header, path=path, segment=segment):
            if header.message_id.hex() != segment["messageId"]:
                sys.exit(f"{path} is another message than the manifest names")
            if header.encryption_context != manifest["encryption_info"]["encryption_context"]:
                sys.exit(f"{path} belongs to another set")

        check_stored(path, segment)
        open_message(path, keys, check)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[-1].split(":", 1)[0] not in ("aes", "rsa", "kms"):
        sys.exit(__doc__)
    if len(sys.argv) == 3:
        open_message(sys.argv[1], key_provider(sys.argv[2], lambda provider: provider))
    else:
        SET = read(sys.argv[1])
        open_part(*sys.argv[1:])
