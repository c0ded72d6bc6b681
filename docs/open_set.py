"""Opens one part of a backup set without lifeboat, and writes it to standard output, still compressed.

    python3 open_set.py SET-DIRECTORY PART KEY

SET-DIRECTORY holds manifest.json; PART is a part's name there, as database.sql; KEY is aes:FILE (32 bytes as hex or
base64) or rsa:PRIVATE.pem, the file named as it was when the backup was made, or kms:ARN, with AWS credentials as
every AWS program takes them. Needs aws-encryption-sdk 3.3.1 or newer. Exit status 0 means that every stored byte had the digest that the manifest states and was authenticated.
docs/restore-by-hand.md says what to do with the output.
"""

import base64
import hashlib
import json
import os
import sys

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

PIECE = 1 << 20


class KeyFile(RawMasterKeyProvider):
    """A key in a file: its name in every backup is the file's base name without extension."""

    provider_id = "lifeboat"

    def _get_raw_key(self, key_id):
        kind, path = sys.argv[3].split(":", 1)
        with open(path, "rb") as file:
            content = file.read()
        if kind == "rsa":
            return WrappingKey(WrappingAlgorithm.RSA_OAEP_SHA256_MGF1, content, EncryptionKeyType.PRIVATE)
        text = content.decode().strip()
        key = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text)
        return WrappingKey(
            WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, key, EncryptionKeyType.SYMMETRIC)


def key_provider(key):
    kind, name = key.split(":", 1)
    if kind == "kms":
        return aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[name])
    keys = KeyFile()
    keys.add_master_key(os.path.splitext(os.path.basename(name))[0].encode())
    return keys


def check_stored(path, segment):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    if digest.hexdigest() != segment["storedSHA256"]:
        sys.exit(f"{path} is damaged: its SHA-256 is not the manifest's")


def open_segment(path, segment, context, keys):
    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    with open(path, "rb") as file, client.stream(mode="d", source=file, key_provider=keys) as message:
        if message.header.message_id.hex() != segment["messageId"]:
            sys.exit(f"{path} is another message than the manifest names")
        if message.header.encryption_context != context:
            sys.exit(f"{path} belongs to another set")
        while piece := message.read(PIECE):
            sys.stdout.buffer.write(piece)


def main():
    if len(sys.argv) != 4 or sys.argv[3].split(":", 1)[0] not in ("aes", "rsa", "kms"):
        sys.exit(__doc__)
    directory, name = sys.argv[1:3]
    with open(os.path.join(directory, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    part = next((part for part in manifest["parts"] if part["name"] == name), None)
    if part is None:
        sys.exit("the parts are " + ", ".join(part["name"] for part in manifest["parts"]))
    keys = key_provider(sys.argv[3])
    for segment in part["segments"]:
        path = os.path.join(directory, segment["path"])
        check_stored(path, segment)
        open_segment(path, segment, manifest["encryption_info"]["encryption_context"], keys)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
