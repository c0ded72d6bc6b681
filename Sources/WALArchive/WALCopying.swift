package import Core
import Envelope

/// Brings a log from one store to another, as the ciphertext it is. Needs no key.
package struct WALCopying: Sendable {
    private let first: WALArchive
    private let second: WALArchive

    package init(from first: WALArchive, to second: WALArchive) {
        self.first = first
        self.second = second
    }

    /// Copies one object. The same there is success, a different one an error.
    package func copy(_ key: String, meter: ProgressMeter) async throws {
        let source = try await first.store.get(key, range: nil)
        do {
            _ = try await second.store.put(key, from: source, options: PutOptions(createOnly: true))
        } catch is StoreConflict {
            guard let here = try await first.store.stat(key), let there = try await second.store.stat(key) else {
                throw ObjectNotFound(key: key)
            }
            // Of the same bytes under the same name, even if two jobs have sealed them.
            guard try await first.header(of: here).messageID == second.header(of: there).messageID else {
                throw WALArchiveError.different(key)
            }
        }
        meter.beat()
    }

    /// Copies what the second lacks of a server's log, histories first and oldest first, and the days of which all is
    /// there then. Returns how many files that were.
    package func makeUp(of systemID: String, meter: ProgressMeter) async throws -> Int {
        let here = try await first.files(of: systemID)
        let there = Set(try await second.files(of: systemID).map(\.name))
        let lacking = here.filter { !there.contains($0.name) }
            .sorted { ($0.name.isHistory ? 0 : 1, $0.info.key) < ($1.name.isHistory ? 0 : 1, $1.info.key) }
        for file in lacking { try await copy(file.info.key, meter: meter) }
        try await copyIndexes(of: systemID)
        return lacking.count
    }

    private func copyIndexes(of systemID: String) async throws {
        for try await object in first.store.list(WALLayout.directory(of: systemID)) {
            guard case .index? = WALKey(object.key) else { continue }
            let bytes = try await first.store.read(object.key)
            try await second.store.put(object.key, bytes)
        }
        try Task.checkCancellation()
    }
}

extension StoredFileName {
    var isHistory: Bool { if case .history = self { true } else { false } }

    /// A segment, or the beginning of one.
    var isSegment: Bool {
        switch self {
        case .segment, .partial: true
        case .history, .backupNote: false
        }
    }
}
