package import Core
import Envelope
import Streams

/// A single file as a message: `lifeboat encrypt` and `decrypt`.
package enum FileEnvelope {
    /// Seals the object `file` as the object `name`, and its keys, readable, as `<name>.encryption_info`; neither may be
    /// there before. Returns for how many recipients.
    package static func encrypt(
        _ file: String, in fileStore: any Store, as name: String, in store: any Store,
        for recipients: [any KeyProvider], random: @escaping RandomBytes
    ) async throws -> Int {
        let source = try await fileStore.get(file, range: nil)
        var fresh = random(32)
        let dataKey = SecretBytes(wiping: &fresh)
        let context = ["lifeboat-format": String(Manifest.formatVersion)]
        let dataKeys = try await sealDataKey(dataKey, for: recipients, context: context)
        let info = EncryptionInfo(algorithm: EncryptionInfo.messageAlgorithm, context: context, dataKeys: dataKeys)
        let message = try MessageWriter(
            dataKey: dataKey,
            parameters: MessageParameters(messageID: random(32), context: context, dataKeys: dataKeys))
        let sealed = SealedSegment(
            PlainCursor(source), compressor: try Compression(algorithm: .none, level: 0).makeCompressor(),
            writer: message, limit: .max)
        _ = try await store.put(
            name, from: try PrefetchedSource(sealed, depth: 4, name: "seal"), options: PutOptions(createOnly: true))
        do {
            try await store.put(name + ".encryption_info", info.json.canonicalBytes, createOnly: true)
        } catch {
            try await store.delete(name)
            throw error
        }
        return dataKeys.count
    }

    /// Opens the message `name`, of ours or of any other writer of the format, into the object `output`, which may not
    /// be there before. Nothing of it appears unless all of the message authenticates.
    package static func decrypt(
        _ name: String, in store: any Store, as output: String, in outputStore: any Store,
        with identities: [any KeyProvider]
    ) async throws -> Int64 {
        let header = try await header(of: name, in: store)
        let dataKey = try await openDataKey(header.dataKeys, context: header.context, with: identities)
        let opened = OpenedSegment(
            try PrefetchedSource(try await store.get(name, range: nil), depth: 4, name: "fetch"),
            expecting: OpenedSegment.Expectation(
                key: name, path: "", messageID: header.messageID, context: header.context, dataKey: dataKey),
            decompressor: try Compression(algorithm: .none, level: 0).makeDecompressor())
        return try await outputStore.put(output, from: opened, options: PutOptions(createOnly: true))
    }

    private static func header(of name: String, in store: any Store) async throws -> MessageHeader {
        let source = try await store.get(name, range: nil)
        return try await onThread("header") {
            defer { source.cancel() }
            var bytes: [UInt8] = []
            while let chunk = try source.next() {
                bytes.append(contentsOf: chunk.bytes)
                if let header = try MessageHeader.parse(bytes) { return header }
            }
            throw SetError.damagedSegment(key: name, path: "", problem: "it ends inside its header")
        }
    }
}
