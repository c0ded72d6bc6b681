package import Core
import Envelope
import Streams

/// One object of a store: a file in the directory that the store is.
package struct StoredFile: Sendable {
    package var name: String
    package var store: any Store

    package init(name: String, store: any Store) {
        self.name = name
        self.store = store
    }
}

/// A single file as a message: `lifeboat encrypt` and `decrypt`.
package enum FileEnvelope {
    /// Seals `file` as `sealed`, and its keys, readable, as `<sealed>.encryption_info`; neither may be there before.
    /// With `cipher` in its form in place of a message. Returns for how many recipients.
    package static func encrypt(
        _ file: StoredFile, as sealed: StoredFile, for recipients: [any KeyProvider],
        cipher: (any SegmentCipher)? = nil, random: @escaping RandomBytes
    ) async throws -> Int {
        let context = ["lifeboat-format": String(Manifest.formatVersion)]
        let made = try await makeDataKey(for: recipients, context: context, random: random)
        let (dataKey, dataKeys) = (made.dataKey, made.wrapped)
        let plaintext = try await file.store.get(file.name, range: nil)
        let source: any ByteSource
        if let cipher {
            // A file alone has no data key: each recipient's own key opens it.
            source = try await cipher.seal(plaintext, for: dataKeys, key: nil)
        } else {
            let message = try MessageWriter(
                dataKey: dataKey,
                parameters: MessageParameters(messageID: random(32), context: context, dataKeys: dataKeys))
            source = SealedSegment(
                PlainCursor(plaintext),
                compressor: try Compression(algorithm: .none, level: 0).makeCompressor(), writer: message,
                limit: .max)
        }
        let info = EncryptionInfo(
            algorithm: cipher?.algorithm ?? EncryptionInfo.messageAlgorithm, context: context, dataKeys: dataKeys)
        _ = try await sealed.store.put(
            sealed.name, from: try PrefetchedSource(source, depth: 4, name: "seal"),
            options: PutOptions(createOnly: true))
        do {
            try await sealed.store.put(
                sealed.name + ".encryption_info", info.json.canonicalBytes, createOnly: true)
        } catch {
            try await sealed.store.delete(sealed.name)
            throw error
        }
        return dataKeys.count
    }

    /// Opens the message `file`, of ours or of any other writer of the format, into `opened`, which may not be there
    /// before; or, where one of `ciphers` knows it by its first bytes, what that has sealed. Nothing of it appears
    /// unless all of it authenticates. Returns its bytes.
    package static func decrypt(
        _ file: StoredFile, as opened: StoredFile, with identities: [any KeyProvider],
        ciphers: [any SegmentCipher] = []
    ) async throws -> Int64 {
        if let cipher = try await cipher(of: file, among: ciphers) {
            let source = try await cipher.open(try await file.store.get(file.name, range: nil), key: nil)
            return try await opened.store.put(opened.name, from: source, options: PutOptions(createOnly: true))
        }
        let header = try await header(of: file)
        let dataKey = try await openDataKey(header.dataKeys, context: header.context, with: identities)
        let source = OpenedSegment(
            try PrefetchedSource(try await file.store.get(file.name, range: nil), depth: 4, name: "fetch"),
            expecting: OpenedSegment.Expectation(
                key: file.name, path: "", messageID: header.messageID, context: header.context, dataKey: dataKey),
            decompressor: try Compression(algorithm: .none, level: 0).makeDecompressor())
        return try await opened.store.put(opened.name, from: source, options: PutOptions(createOnly: true))
    }

    private static func cipher(
        of file: StoredFile, among ciphers: [any SegmentCipher]
    ) async throws -> (any SegmentCipher)? {
        let source = try await file.store.get(file.name, range: nil)
        let beginning = try await onThread("header") {
            defer { source.cancel() }
            return try source.next().map { Array($0.bytes.prefix(64)) } ?? []
        }
        return ciphers.first { $0.recognises(beginning) }
    }

    private static func header(of file: StoredFile) async throws -> MessageHeader {
        let source = try await file.store.get(file.name, range: nil)
        return try await onThread("header") {
            defer { source.cancel() }
            var bytes: [UInt8] = []
            while let chunk = try source.next() {
                bytes.append(contentsOf: chunk.bytes)
                if let header = try MessageHeader.parse(bytes) { return header }
            }
            throw SetError.damagedSegment(key: file.name, path: "", problem: "it ends inside its header")
        }
    }
}
