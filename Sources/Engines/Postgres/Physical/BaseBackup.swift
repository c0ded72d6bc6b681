import Core

/// The server's side of one BASE_BACKUP, as its messages come. Both calls block.
protocol BackupConversation: Sendable {
    /// The next answer to the command; `nil` after the last.
    func nextAnswer() throws -> ReplicationConnection.Answer?
    /// Gives the next message of a copy to `body`; `false` at the copy's end.
    func message(_ body: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool
}

/// Where the parts of a base backup go as they come.
protocol BackupOutput {
    /// What is written from now on is of the archive of `root`, or of the manifest where that is `nil`.
    mutating func begin(_ root: String?) throws
    mutating func write(_ bytes: UnsafeRawBufferPointer) throws
    /// The archive is complete. Not said of the manifest, which is last: whether all went well shows only after it.
    mutating func end() throws
}

/// What the server says before the first byte.
struct BackupStart: Equatable, Sendable {
    var timeline: UInt32
    /// The log from here on is needed to start from the backup.
    var position: LSN
    /// The archives in their order, each by its root: a tablespace's number, or `base`, which comes last.
    var roots: [String]
    /// Bytes that the files take on the server's disk, the log not counted.
    var size: Int64
}

/// What it says after the last.
struct BackupEnd: Equatable, Sendable {
    var timeline: UInt32
    /// The first place at which the backup is consistent.
    var position: LSN
}

/// The command BASE_BACKUP and its answers ("Streaming Replication Protocol" in the server's manual), in the form that
/// versions 13 and 14 speak and in the one that came with 15.
struct BaseBackup: Sendable {
    static let purpose = "take a base backup"
    /// The kinds of messages since version 15.
    private enum Kind {
        static let archive = UInt8(ascii: "n")
        static let manifest = UInt8(ascii: "m")
        static let data = UInt8(ascii: "d")
        static let progress = UInt8(ascii: "p")
    }

    let conversation: any BackupConversation
    let serverMajor: Int
    /// For errors.
    let server: String

    /// Since 15 one copy holds all archives and the manifest, in messages that say what they are, and archives end as
    /// `tar` wants it; before, each was a copy of its own, without the two blocks of zeros.
    private var hasTypedMessages: Bool { serverMajor >= 15 }
    private static let archiveEnd = [UInt8](repeating: 0, count: 1024)

    /// All of it: every tablespace, the log that is needed to start from it, the manifest with a CRC-32C of every file. A
    /// SHA-256 would cost the server as much as all else that it does, and there is one of ours (``FileLedger/sum``).
    /// Page checksums are verified by the server, unless told not to. It does not wait until the log has been archived
    /// there too, for what is needed of it comes along.
    static func command(label: String, serverMajor: Int) -> String {
        let name = quoted(literal: label)
        guard serverMajor >= 15 else {
            return """
                BASE_BACKUP LABEL \(name) PROGRESS FAST WAL NOWAIT TABLESPACE_MAP MANIFEST 'yes' \
                MANIFEST_CHECKSUMS 'CRC32C'
                """
        }
        return """
            BASE_BACKUP (LABEL \(name), PROGRESS, CHECKPOINT 'fast', WAL, WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', \
            MANIFEST_CHECKSUMS 'CRC32C', VERIFY_CHECKSUMS)
            """
    }

    /// The answers before the first copy. Waits for the server's checkpoint.
    func start() throws -> BackupStart {
        let begin = try position()
        guard case .rows(let tablespaces)? = try conversation.nextAnswer(), !tablespaces.isEmpty else {
            throw violation
        }
        var roots: [String] = []
        var bytes: Int64 = 0
        for row in tablespaces {
            let root = row[0] ?? ClusterArchive.base
            guard ClusterArchive.root(ofPart: ClusterArchive.part(of: root)) != nil, !roots.contains(root),
                let size = Int64(row.text(2)), (0..<1 << 40).contains(size)
            else { throw violation }
            roots.append(root)
            bytes = Int64(clamping: UInt64(bytes) + UInt64(size) * 1024)
        }
        guard roots.last == ClusterArchive.base else { throw violation }
        return BackupStart(
            timeline: begin.timeline, position: begin.position, roots: roots, size: bytes)
    }

    /// Everything after that. Throws what the server found wrong in the end, as pages whose checksums fail.
    func stream(_ roots: [String], to output: inout some BackupOutput) throws -> BackupEnd {
        if hasTypedMessages {
            try readTypedCopy(roots, to: &output)
        } else {
            for root in roots { try readPlainCopy(of: root, isFirst: root == roots.first, to: &output) }
            try readPlainCopy(of: nil, isFirst: false, to: &output)
        }
        let end = try position()
        // An error may still follow: the pages that failed are reported after everything has been sent.
        while let answer = try conversation.nextAnswer() {
            guard case .rows = answer else { throw violation }
        }
        return BackupEnd(timeline: end.timeline, position: end.position)
    }

    /// A copy that the server breaks off ends as a whole one does; whether it was one shows in the answer after it.
    private func readPlainCopy(of root: String?, isFirst: Bool, to output: inout some BackupOutput) throws {
        guard case .copyOut? = try conversation.nextAnswer() else { throw violation }
        if !isFirst {
            try Self.archiveEnd.withUnsafeBytes { try output.write($0) }
            try output.end()
        }
        try output.begin(root)
        while try conversation.message({ try output.write($0) }) {}
    }

    private func readTypedCopy(_ roots: [String], to output: inout some BackupOutput) throws {
        guard case .copyOut? = try conversation.nextAnswer() else { throw violation }
        var begun = 0
        var isManifest = false
        while try conversation.message({ message in
            guard let kind = message.first else { throw violation }
            let content = UnsafeRawBufferPointer(rebasing: message.dropFirst())
            switch kind {
            case Kind.data where begun > 0: try output.write(content)
            case Kind.archive where begun < roots.count && !isManifest:
                if begun > 0 { try output.end() }
                let name = String(decoding: content.prefix { $0 != 0 }, as: UTF8.self)
                guard name == ClusterArchive.part(of: roots[begun]) else { throw violation }
                try output.begin(roots[begun])
                begun += 1
            case Kind.manifest where begun == roots.count && !isManifest:
                try output.end()
                try output.begin(nil)
                isManifest = true
            case Kind.progress: break
            default: throw violation
            }
        }) {}
        guard isManifest else {
            // The server broke it off, and says why.
            _ = try conversation.nextAnswer()
            throw violation
        }
    }

    /// A place in the log and its timeline, as the server says them at the beginning and at the end.
    private func position() throws -> (timeline: UInt32, position: LSN) {
        guard case .rows(let rows)? = try conversation.nextAnswer(), let row = rows.first,
            let position = LSN(row.text(0)), let timeline = UInt32(row.text(1)), timeline > 0
        else { throw violation }
        return (timeline, position)
    }

    private var violation: PostgresError { .protocolViolation(Self.purpose, on: server) }
}

/// A BASE_BACKUP that has been sent over a replication connection.
struct ServerConversation: BackupConversation {
    let connection: ReplicationConnection
    /// Seconds from one message to the next.
    let patience: Int

    func nextAnswer() throws -> ReplicationConnection.Answer? {
        try connection.nextAnswer(within: patience, to: BaseBackup.purpose)
    }

    func message(_ body: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        try connection.message(within: patience, to: BaseBackup.purpose, body) != nil
    }
}
