import CLinux
import Core
import Glibc
import Streams

/// Reads the files of an unpacked cluster back from the disk, and compares them with the manifest that the server wrote
/// when it was backed up.
struct StagedInspection: Sendable {
    private static let lanes = 2

    let cluster: ClusterDirectory
    let manifest: BackupManifestReader
    let roots: [String]
    let base: PhysicalBase

    /// The manifest out of a set, checked against its own checksum.
    static func manifest(of parts: any PartOpener) async throws -> BackupManifestReader {
        let source = try await parts.open(ClusterArchive.manifest)
        let reader = Guarded(BackupManifestReader())
        do {
            try await pull(source, named: "manifest") { chunk in try reader.withLock { try $0.update(chunk.bytes) } }
            try reader.withLock { try $0.finish() }
        } catch let problem as PhysicalProblem {
            throw problem.ofSet
        }
        return reader.value
    }

    /// What is there, in the terms of a set's contents. Throws where a file is missing, too much or another.
    func run(meter: ProgressMeter) async throws -> Contents {
        let stop = Stop(nil)
        let (ledgers, log) = try await withTaskCancellationHandler {
            let ledgers = try await readFiles(meter, stop)
            return (ledgers, try await onThread("inspect log") { try readLog(meter, stop) })
        } onCancel: {
            stop.withLock { $0 = $0 ?? CancellationError() }
        }
        return try await onThread("compare") {
            do {
                let problems = ManifestComparison.problems(manifest: manifest.ledger, archives: ledgers)
                guard problems.isEmpty else {
                    throw PhysicalProblem(ClusterArchive.manifest, problems.joined(separator: "; "))
                }
                try checkForStrangers()
                try log.check(manifest.ranges, systemID: base.systemID)
                return Contents(cluster: ledgers, log: log.ledgers)
            } catch let problem as PhysicalProblem {
                throw problem.ofSet
            }
        }
    }

    // MARK: Files of the manifest

    /// Why those who read are to give up: the first thing that went wrong, or the job's end.
    private typealias Stop = Guarded<(any Error)?>

    private func readFiles(_ meter: ProgressMeter, _ stop: Stop) async throws -> [String: FileLedger] {
        let work = Guarded(InspectionWork(entries: manifest.ledger.entries, roots: roots))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<Self.lanes {
                group.addTask {
                    try await onThread("inspect") {
                        do {
                            try readLane(work, meter, stop)
                        } catch {
                            stop.withLock { $0 = $0 ?? error }
                            throw error
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        return work.withLock { $0.ledgers }
    }

    private func readLane(_ work: Guarded<InspectionWork>, _ meter: ProgressMeter, _ stop: Stop) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Chunk.size, alignment: 16)
        defer { buffer.deallocate() }
        while let (number, path) = work.withLock({ $0.next() }) {
            let found = try Self.digest("\(cluster.data)/", path, buffer, meter, stop)
            work.withLock { $0.finish(number, path, found) }
        }
    }

    /// Of the file at `path` below `directory`; `nil` where there is none.
    private static func digest(
        _ directory: String, _ path: [UInt8], _ buffer: UnsafeMutableRawBufferPointer, _ meter: ProgressMeter,
        _ stop: Stop
    ) throws -> (size: Int64, digest: FileDigest, beginning: [UInt8])? {
        let name = (Array(directory.utf8) + path).map { CChar(bitPattern: $0) } + [0]
        let file = linux_open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        guard file >= 0 else {
            if errno == ENOENT || errno == ELOOP { return nil }
            throw PostgresError.directory("read back the file", shown(path: path), error: errno)
        }
        defer { close(file) }
        var digest = FileDigest.Reader()
        var size: Int64 = 0
        var beginning: [UInt8] = []
        while true {
            if let why = stop.value { throw why }
            let count = Glibc.read(file, buffer.baseAddress, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw PostgresError.directory("read back the file", shown(path: path), error: errno)
            }
            if count == 0 { break }
            let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            if size == 0 { beginning = Array(bytes.prefix(SegmentHeader.size)) }
            digest.update(bytes)
            size += Int64(count)
            meter.add(count)
        }
        return (size, digest.finish(), beginning)
    }

    // MARK: The log that came along

    private func readLog(_ meter: ProgressMeter, _ stop: Stop) throws -> LogFindings {
        var findings = LogFindings(segmentSize: base.segmentSize)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Chunk.size, alignment: 16)
        defer { buffer.deallocate() }
        for name in try ClusterDirectory.names(in: "\(cluster.data)/pg_wal").sorted() {
            let path = ClusterArchive.logDirectory + name.utf8
            guard let segment = findings.segment(at: path) else { continue }
            guard let found = try Self.digest("\(cluster.data)/", path, buffer, meter, stop) else { continue }
            do {
                try findings.add(
                    segment, path: path, size: found.size, digest: found.digest, beginning: found.beginning)
            } catch {
                throw error.ofSet
            }
        }
        return findings
    }

    // MARK: Files of nobody

    /// Every file of the manifest has been found; now none may be there beside them.
    private func checkForStrangers() throws {
        var count: Int64 = 0
        try walk { _ in count += 1 }
        guard count != manifest.ledger.files else { return }
        let known = Set(manifest.ledger.entries.lazy.map(\.path))
        var strangers: [String] = []
        try walk { path in if !known.contains(path), strangers.count < 8 { strangers.append(shown(path: path)) } }
        throw PhysicalProblem(
            ClusterArchive.manifest, "\(strangers.sorted().joined(separator: ", ")) is not in the manifest")
    }

    private func walk(_ visit: ([UInt8]) -> Void) throws {
        for root in roots {
            let directory =
                root == ClusterArchive.base ? cluster.data : "\(cluster.tablespaces)/\(root)"
            try walk(directory, ClusterArchive.prefix(of: root), visit)
        }
    }

    private func walk(_ directory: String, _ prefix: [UInt8], _ visit: ([UInt8]) -> Void) throws {
        for name in try ClusterDirectory.names(in: directory) {
            var facts = stat()
            guard lstat("\(directory)/\(name)", &facts) == 0 else {
                throw PostgresError.directory("look at the file", "\(directory)/\(name)", error: errno)
            }
            let path = prefix + name.utf8
            switch facts.st_mode & S_IFMT {
            case S_IFDIR: try walk("\(directory)/\(name)", path + [UInt8(ascii: "/")], visit)
            case S_IFREG where LogFindings(segmentSize: base.segmentSize).segment(at: path) == nil: visit(path)
            default: break
            }
        }
    }
}

/// The files that two threads read, handed out and taken back in the manifest's order: as it is read next to the
/// manifest, nothing has to be remembered.
private struct InspectionWork {
    private var entries: FileLedger.Entries
    private let roots: Set<String>
    private(set) var ledgers: [String: FileLedger]
    private var given = 0
    private var taken = 0
    private var waiting: [Int: (path: [UInt8], size: Int64, digest: FileDigest)?] = [:]

    init(entries: FileLedger.Entries, roots: [String]) {
        self.entries = entries
        self.roots = Set(roots)
        ledgers = Dictionary(uniqueKeysWithValues: roots.map { ($0, FileLedger()) })
    }

    mutating func next() -> (Int, [UInt8])? {
        guard let entry = entries.next() else { return nil }
        defer { given += 1 }
        return (given, entry.path)
    }

    mutating func finish(
        _ number: Int, _ path: [UInt8], _ found: (size: Int64, digest: FileDigest, beginning: [UInt8])?
    ) {
        waiting[number] = .some(found.map { (path, $0.size, $0.digest) })
        while let next = waiting.removeValue(forKey: taken) {
            taken += 1
            guard let next else { continue }
            ledgers[root(of: next.path), default: FileLedger()].add(
                path: next.path, size: next.size, digest: next.digest)
        }
    }

    private func root(of path: [UInt8]) -> String {
        let prefix = ClusterArchive.tablespaceDirectory
        guard path.starts(with: prefix) else { return ClusterArchive.base }
        let number = String(decoding: path[prefix.count...].prefix { $0 != UInt8(ascii: "/") }, as: UTF8.self)
        return roots.contains(number) ? number : ClusterArchive.base
    }
}
