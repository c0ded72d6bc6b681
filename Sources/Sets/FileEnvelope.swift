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
    /// Returns for how many recipients.
    package static func encrypt(
        _ file: StoredFile, as sealed: StoredFile, for recipients: [any KeyProvider], random: @escaping RandomBytes
    ) async throws -> Int {
        let context = ["lifeboat-format": String(Manifest.formatVersion)]
        let made = try await makeDataKey(for: recipients, context: context, random: random)
        let (dataKey, dataKeys) = (made.dataKey, made.wrapped)
        let info = EncryptionInfo(algorithm: EncryptionInfo.messageAlgorithm, context: context, dataKeys: dataKeys)
        let message = try MessageWriter(
            dataKey: dataKey,
            parameters: MessageParameters(messageID: random(32), context: context, dataKeys: dataKeys))
        let source = SealedSegment(
            PlainCursor(try await file.store.get(file.name, range: nil)),
            compressor: try Compression(algorithm: .none, level: 0).makeCompressor(), writer: message, limit: .max)
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
    /// before. Nothing of it appears unless all of the message authenticates. Returns its bytes.
    package static func decrypt(
        _ file: StoredFile, as opened: StoredFile, with identities: [any KeyProvider]
    ) async throws -> Int64 {
        let header = try await header(of: file)
        let dataKey = try await openDataKey(header.dataKeys, context: header.context, with: identities)
        let source = OpenedSegment(
            try PrefetchedSource(try await file.store.get(file.name, range: nil), depth: 4, name: "fetch"),
            expecting: OpenedSegment.Expectation(
                key: file.name, path: "", messageID: header.messageID, context: header.context, dataKey: dataKey),
            decompressor: try Compression(algorithm: .none, level: 0).makeDecompressor())
        return try await opened.store.put(opened.name, from: source, options: PutOptions(createOnly: true))
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
