import CLinux
import Core
import Glibc
import Streams

/// Unpacks the archives of a base backup into a directory, several side by side.
///
/// What the files hold is looked at afterwards, when they are read back (``StagedInspection``): a stream is only given
/// what has been authenticated, and the disk has its say too.
struct ClusterUnpacking: Sendable {
    /// Archives at once: each has threads of its own, and they share the disk.
    private static let lanes = 2

    let cluster: ClusterDirectory
    let owner: ClusterOwner?
    /// `base`, and the numbers of tablespaces.
    let roots: [String]

    func run(_ parts: any PartOpener, meter: ProgressMeter) async throws {
        try await onThread("directories") { try makeDirectories() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, root) in roots.enumerated() {
                if index >= Self.lanes { try await group.next() }
                group.addTask { try await unpack(root, parts, meter) }
            }
            try await group.waitForAll()
        }
        try await onThread("links") { try makeLinks() }
    }

    private func unpack(_ root: String, _ parts: any PartOpener, _ meter: ProgressMeter) async throws {
        let name = ClusterArchive.part(of: root)
        let source = MeteredSource(
            try PrefetchedSource(try await parts.open(name), depth: 4, name: "read"), meter: meter)
        let target = directory(of: root)
        try await withTaskCancellationHandler {
            try await onThread("unpack") {
                var reader = ArchiveReader(part: name, ArchiveUnpacking(into: target, owner: owner, part: name))
                do {
                    while let chunk = try source.next() {
                        try reader.update(chunk.bytes)
                    }
                    try reader.finish()
                } catch let problem as PhysicalProblem {
                    source.cancel()
                    throw problem.ofSet
                } catch {
                    source.cancel()
                    throw error
                }
            }
        } onCancel: {
            source.cancel()
        }
    }

    private func directory(of root: String) -> String {
        root == ClusterArchive.base ? cluster.data : "\(cluster.tablespaces)/\(root)"
    }

    private func makeDirectories() throws(PostgresError) {
        if roots.contains(where: { $0 != ClusterArchive.base }) {
            try cluster.makeDirectory(cluster.tablespaces, mode: 0o700, owner: owner)
        }
        for root in roots { try cluster.makeDirectory(directory(of: root), mode: 0o700, owner: owner) }
    }

    /// From the data directory to the tablespaces: where they were on the source's machine says nothing here.
    private func makeLinks() throws(PostgresError) {
        for root in roots where root != ClusterArchive.base {
            let link = "\(cluster.data)/pg_tblspc/\(root)"
            guard symlink(directory(of: root), link) == 0 else {
                throw .directory("link the tablespace", link, error: errno)
            }
            try ClusterDirectory.give(link, to: owner)
        }
    }
}

/// Writes the members of one archive below a directory that was empty. The reader lets no name lead out of it, and no
/// link is made while there is something to write.
private final class ArchiveUnpacking: ArchiveVisitor {
    /// After so many bytes the disk is asked to begin, so that the end has little left to wait for.
    private static let writeback: Int64 = 16 << 20

    private let directory: [UInt8]
    private let owner: ClusterOwner?
    private let part: String
    private var file: Int32 = -1
    private var written: Int64 = 0
    private var asked: Int64 = 0

    init(into directory: String, owner: ClusterOwner?, part: String) {
        self.directory = Array(directory.utf8) + [UInt8(ascii: "/")]
        self.owner = owner
        self.part = part
    }

    deinit { if file >= 0 { close(file) } }

    func begin(_ member: ArchiveMember) throws {
        let path = (directory + member.path).map { CChar(bitPattern: $0) } + [0]
        switch member.kind {
        case .link: throw PhysicalProblem(part, "\(shown(path: member.path)) is a link, which no base backup has")
        case .directory:
            // With the owner's bits, whatever it had: the server asks for them.
            guard mkdir(path, mode_t(member.mode & 0o777 | 0o700)) == 0 else { throw failed(member) }
            if let owner, chown(path, owner.user, owner.group) != 0 { throw failed(member) }
        case .file:
            file = linux_open(
                path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, member.mode & 0o777 | 0o600)
            written = 0
            asked = 0
            guard file >= 0 else { throw failed(member) }
            if let owner, fchown(file, owner.user, owner.group) != 0 { throw failed(member) }
        }
    }

    func read(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.write(file, rest.baseAddress, rest.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw PostgresError.directory("unpack the archive", part, error: errno) }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            written += Int64(count)
        }
        if written - asked >= Self.writeback {
            linux_start_writeback(file, asked, written - asked)
            asked = written
        }
    }

    func end(_ member: ArchiveMember) throws {
        guard file >= 0 else { return }
        defer { file = -1 }
        guard close(file) == 0 else { throw failed(member) }
    }

    private func failed(_ member: ArchiveMember) -> any Error {
        let code = errno
        return code == EEXIST
            ? PhysicalProblem(part, "\(shown(path: member.path)) is there twice")
            : PostgresError.directory("unpack the archive", part, error: code)
    }
}
