"""Seals standard input with the AWS Encryption SDK for Python, and writes the message to standard output.

seal.py FRAME-LENGTH CONTEXT-AS-JSON (aes|rsa):FILE
"""

import json
import os
import sys

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider


kind, path = sys.argv[3].split(":", 1)
with open(path, "rb") as file:
    content = file.read()


class KeyFile(RawMasterKeyProvider):
    provider_id = "lifeboat"

    def _get_raw_key(self, key_id):
        if kind == "aes":
            return WrappingKey(
                WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, bytes.fromhex(content.decode().strip()),
                EncryptionKeyType.SYMMETRIC)
        return WrappingKey(WrappingAlgorithm.RSA_OAEP_SHA256_MGF1, content, EncryptionKeyType.PUBLIC)


keys = KeyFile()
keys.add_master_key(os.path.splitext(os.path.basename(path))[0].encode())
client = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
message, _ = client.encrypt(
    source=sys.stdin.buffer.read(), key_provider=keys, encryption_context=json.loads(sys.argv[2]),
    algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY, frame_length=int(sys.argv[1]))
sys.stdout.buffer.write(message)
