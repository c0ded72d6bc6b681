import Core
import Crypto
import Envelope

/// What stands beside the sealed files of an export: `export.json` for programs, `README.txt` for people. Both are in
/// clear, and say no more than a manifest does.
struct ExportDescription {
    let reader: SetReader
    let encryption: EncryptionInfo
    /// Paths are names in the directory.
    let parts: [StoredPart]
    let time: Timestamp
    let requestID: RequestID

    private var manifest: Manifest { reader.manifest }

    /// The segments are in OpenPGP's form, which `gpg` opens and the program does not.
    var isOpenPGP: Bool { encryption.algorithm != EncryptionInfo.messageAlgorithm }

    /// The members that a manifest has are the same, so that one program opens both.
    func index(dataKey: SecretBytes, signer: Curve25519.Signing.PrivateKey?) throws -> [UInt8] {
        var members: [String: JSON] = [
            "format": .integer(1), "kind": .string("export"),
            "key": .string(manifest.key.description), "target": .string(manifest.target),
            "engine": .string(manifest.engine), "manifestSHA256": .string(hexText(reader.stored.sha256)),
            "origin": .string(reader.origin.rawValue), "requestId": .string(requestID.description),
            "snapshotTime": .string(manifest.snapshotTime.description), "time": .string(time.description),
            "details": .object(manifest.details.mapValues { .string($0) }),
            "exceptions": .array(manifest.exceptions.map { .string($0) }),
            "compression": .object([
                "algorithm": .string(manifest.compression.algorithm.rawValue),
                "level": .integer(Int64(manifest.compression.level)),
            ]),
            "contents": .object(manifest.contents.json), "parts": .array(parts.map(\.json)),
            "encryption_info": encryption.json,
        ]
        members["mac"] = .string(
            hexText(ManifestSeal.mac(.object(members), purpose: SetExport.macPurpose, dataKey: dataKey)))
        if let signer { members["signature"] = try ManifestSeal.sign(.object(members), with: signer).json }
        return JSON.object(members).canonicalBytes
    }

    var readMe: String {
        """
        A backup of \(manifest.target), as it was at \(manifest.snapshotTime).

        This directory is the backup set \(manifest.key) of the engine \(manifest.engine),
        written out by 'lifeboat export' at \(time), sealed anew for

        \(encryption.dataKeys.map { "    \($0.recipientName)" }.joined(separator: "\n"))

        Each of these keys opens all of it, and none but these. Nothing here is in clear but this page,
        export.json\(isOpenPGP ? "" : " and the program beside it").

        1. See that it is whole:

            sha256sum -c SHA256SUMS

        2. Open a part. What is needed is \(isOpenPGP ? openPGPNeeds : messageNeeds)
           and \(unpackerName):

            set -o pipefail
        \(commands.map { "    \($0)" }.joined(separator: "\n"))

           \(isOpenPGP ? openPGPHint : messageHint)
           Where the exit status is not 0, nothing that was written can be relied on.

        3. Load it: \(loading)
           contents.json lists what is inside, with a digest of each table, collection or file.

        \(isOpenPGP ? openPGPForm : messageForm)
        export.json names every file with its part, its place in it, size and digest. Of a part in several files
        (.0002, .0003) each is opened and unpacked by itself, and what comes out is joined in this order.

        """
    }

    private var messageNeeds: String {
        """
        Python 3.8 or newer with 'pip install aws-encryption-sdk',
           one of the keys, in a file named as above (the name without its ending),
        """
    }

    private var openPGPNeeds: String { "gpg with the private key of a recipient," }

    private var messageHint: String {
        """
        KEY is aes:FILE (32 bytes as hex or base64), rsa:PRIVATE.pem, or kms:ARN with credentials of
           somebody who may kms:Decrypt.
        """
    }

    private var openPGPHint: String { "gpg says 'encrypted with' and the keys; it may ask for a passphrase." }

    private var messageForm: String {
        """
        The messages are those of the AWS Encryption SDK (format 2.0, suite 0x0478), so its programs in any
        language open them.
        """
    }

    private var openPGPForm: String {
        "The messages are those of OpenPGP (RFC 4880), so any program for that opens them."
    }

    /// pieces.bin is for programs that read sets, and nothing that anybody loads.
    private var commands: [String] {
        parts.filter { $0.name != SetWriter.piecesPart }.map { part in
            guard isOpenPGP else { return "python3 open_set.py . \(part.name) KEY \(unpacker)> \(part.name)" }
            let files = part.segments.map { "gpg -d \($0.path)" }
            let opened = files.count == 1 ? files[0] : "{ \(files.joined(separator: " && ")); }"
            return "\(opened) \(unpacker)> \(part.name)"
        }
    }

    private var unpacker: String {
        switch manifest.compression.algorithm {
        case .zstd: "| zstd -d "
        case .gzip: "| gzip -d "
        case .none: ""
        }
    }

    private var unpackerName: String {
        switch manifest.compression.algorithm {
        case .zstd: "zstd"
        case .gzip: "gzip"
        case .none: "nothing else"
        }
    }

    private var loading: String {
        switch manifest.engine {
        case "postgres": "'psql -X -v ON_ERROR_STOP=1' reads database.sql, into an empty database."
        case "mysql": "'mariadb' or 'mysql' reads database.sql, into an empty schema."
        case "mongodb": "'mongorestore --archive=mongodb.archive' reads that, into an empty database."
        case "files": "'tar -xf files.tar' unpacks that, in an empty directory."
        case "keys": "'tar -xf keys.tar' unpacks that, in an empty directory that is safe for keys."
        case "audit-records": "records.jsonl has one record a line, as JSON."
        default: "the parts are what the engine \(manifest.engine) stores; see the documentation of lifeboat."
        }
    }
}
