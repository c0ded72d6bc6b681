package import Core
import Streams

/// A set as an engine sees it, in memory.
package struct TakenSet: Sendable {
    package var parts: [String: [UInt8]]
    package var order: [String]
    package var contents: Contents
    package var facts: SnapshotFacts
    package var engine: String

    /// A part as text.
    package subscript(text part: String) -> String {
        get { String(decoding: parts[part] ?? [], as: UTF8.self) }
        set { parts[part] = Array(newValue.utf8) }
    }

    package var manifest: Manifest {
        Manifest(
            key: testKey, target: "clinic", engine: engine, requestID: "r", attempt: "a", snapshotTime: facts.time,
            finishedTime: facts.time, sequence: 1, previous: nil, details: facts.details,
            exceptions: facts.exceptions, sourceSize: facts.sourceSize, compression: .standard, parts: [],
            contents: ContentsSummary(contents.counts),
            encryption: EncryptionInfo(algorithm: "", context: [:], dataKeys: []),
            retention: Retention(retainUntil: nil))
    }

    /// As the set of what a restore replaces.
    package var safety: SafetySet {
        SafetySet(manifest: manifest, contents: contents, parts: MemoryParts(parts: parts))
    }

    /// A request to restore this set. `id` is a replayable one.
    package func request(
        _ id: String, create: Bool = false, roles: RoleRestore = .missing, disk: Bool = true, bound: Bool = false,
        verified: @escaping @Sendable (BackupKey) async throws -> Contents? = { _ in nil }
    ) -> RestoreRequest {
        RestoreRequest(
            requestID: .run(id), setKey: testKey, manifest: manifest, contents: contents,
            parts: MemoryParts(parts: parts), createDatabase: create, restoreRoles: roles, acknowledgeDisk: disk,
            acknowledgeBoundObjects: bound, verifiedContents: verified, meter: ProgressMeter())
    }

    package func examineRequest(
        recompute: Bool, comparesSource: Bool = false, after predecessor: Manifest? = nil
    ) -> ExamineRequest {
        ExamineRequest(
            manifest: manifest, parts: MemoryParts(parts: parts), recompute: recompute,
            comparesSource: comparesSource, predecessor: { predecessor }, meter: ProgressMeter())
    }
}

/// The parts of a set in memory, opened.
package struct MemoryParts: PartOpener {
    package var parts: [String: [UInt8]]
    package var partNames: [String] { parts.keys.sorted() }

    package init(parts: [String: [UInt8]]) { self.parts = parts }

    package func open(_ part: String) async throws -> any ByteSource {
        guard let bytes = parts[part] else { throw TestFailure("no part \(part)") }
        return MemorySource(bytes)
    }
}

package let testTime = Timestamp(milliseconds: 1_736_924_400_000)
package let testKey = BackupKey(tier: .daily, timestamp: testTime)

extension Engine {
    /// Begins a snapshot; throws where the engine finds nothing to store.
    package func picture(_ request: SnapshotRequest? = nil) async throws -> any Snapshot {
        try await snapshot(request ?? SnapshotRequest(previous: nil, meter: ProgressMeter()))
            .picture(of: capabilities.endpoint)
    }

    /// Takes a whole snapshot into memory, its parts side by side as a set's writer pulls them.
    package func take(_ request: SnapshotRequest? = nil) async throws -> TakenSet {
        let snapshot = try await picture(request)
        do {
            let (parts, order) = try await withThrowingTaskGroup(of: (String, [UInt8]).self) { group in
                var order: [String] = []
                for try await part in snapshot.parts {
                    order.append(part.name)
                    group.addTask {
                        let source = part.source
                        return (part.name, try await onThread("collect") { try source.collect(limit: 1 << 28) })
                    }
                }
                var parts: [String: [UInt8]] = [:]
                for try await (name, bytes) in group { parts[name] = bytes }
                return (parts, order)
            }
            let contents = try await snapshot.finish()
            return TakenSet(
                parts: parts, order: order, contents: contents, facts: snapshot.facts, engine: capabilities.name)
        } catch {
            await snapshot.cancel()
            throw error
        }
    }

    /// Plans, stages, compares and promotes, as the operation does.
    @discardableResult
    package func restore(
        _ request: RestoreRequest, safety: TakenSet? = nil, safetyKey: BackupKey? = nil
    ) async throws -> Promotion {
        let staged = try await plan(request).stage()
        do {
            let comparison = ContentsComparison(recorded: request.contents, found: try await staged.inspect())
            guard comparison.isEqual else { throw TestFailure("not equal: \(comparison.failures)") }
            return try await staged.promote(
                PromotionRequest(
                    marker: RestoreMarker(
                        requestID: request.requestID, setKey: request.setKey,
                        safetyKey: safetyKey ?? safety.map { _ in testKey }, time: testTime),
                    safety: safety?.safety, meter: ProgressMeter()))
        } catch {
            try await staged.discard()
            throw error
        }
    }
}
