import CLinux
package import Core
import FilesEngine
import Glibc

extension KeysEngine {
    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        guard let location = settings.directories.first, settings.directories.count == 1 else {
            throw KeysError.refused(
                "a set is restored into one directory, and the source has \(settings.directories.count)", at: place,
                hint: "name the directory in targetDatabase; each of the source's comes to stand below it")
        }
        try await onThread("plan") { try refuseMount(location) }
        let key = request.setKey.description
        let (parts, meter) = (request.parts, request.meter)
        let directory = FilledDirectory(
            location: location, size: request.manifest.plainSize,
            fill: { path in
                let entries = try await entries(parts, of: key, meter)
                try await onThread("restore") { try KeyWriter(path: path).write(entries) }
            },
            read: { path in
                try await onThread("inspect") { try KeySet(try KeyDirectory(path: path).read(), at: path).contents }
            })
        let notes = geteuid() == 0 ? [] : ["the files will belong to the user that lifeboat runs as, who is not root"]
        return try await directory.plan(request, random: random, notes: notes)
    }

    @Sendable
    private func refuseMount(_ location: String) throws {
        var status = stat()
        guard lstat(location, &status) == 0 else {
            guard errno == ENOENT || errno == ENOTDIR else { throw KeysError.restore(location, errno) }
            return
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw KeysError.refused(
                "what stands there is no directory", at: location, hint: "name a directory in targetDatabase")
        }
        guard try !KeyDirectory(path: location).isMount() else {
            throw KeysError.refused(
                "it is a mounted Secret, which only Kubernetes writes", at: location,
                hint: "restore to another directory, and make the Secret from it: "
                    + "kubectl create secret generic NAME --from-file=DIRECTORY")
        }
    }
}

/// Writes a directory of keys where nothing is yet, nobody but its owner getting in before it is whole.
private struct KeyWriter {
    let path: String

    func write(_ entries: [KeyEntry]) throws {
        let directories = entries.filter { $0.content == nil }.sorted { $0.path < $1.path }
        guard directories.contains(where: { $0.path.isEmpty }) else {
            throw KeysError.damaged(path, "the set has no directory that its files are in")
        }
        for directory in directories {
            guard mkdir(place(directory), S_IRWXU) == 0 else { throw KeysError.restore(place(directory), errno) }
        }
        for file in entries { try file.content.map { try write($0, file) } }
        // The innermost first: what is written into a directory changes its time.
        for directory in directories.reversed() {
            let number = open(place(directory), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            guard number >= 0 else { throw KeysError.restore(place(directory), errno) }
            defer { close(number) }
            try settle(number, directory)
        }
    }

    private func place(_ entry: KeyEntry) -> String { entry.path.isEmpty ? path : "\(path)/\(entry.path)" }

    private func write(_ content: SecretBytes, _ entry: KeyEntry) throws {
        let place = place(entry)
        let number = linux_open(place, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard number >= 0 else { throw KeysError.restore(place, errno) }
        defer { close(number) }
        try content.withBytes { bytes in
            var rest = bytes
            while !rest.isEmpty {
                let count = Glibc.write(number, rest.baseAddress, rest.count)
                if count < 0, errno == EINTR { continue }
                guard count >= 0 else { throw KeysError.restore(place, errno) }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
        try settle(number, entry)
        guard fsync(number) == 0 else { throw KeysError.restore(place, errno) }
    }

    /// Owner first: changing it takes special bits of the mode away.
    private func settle(_ number: Int32, _ entry: KeyEntry) throws {
        let isRoot = geteuid() == 0
        guard !isRoot || fchown(number, entry.owner, entry.group) == 0, fchmod(number, entry.mode) == 0 else {
            throw KeysError.restore(place(entry), errno)
        }
        let time = timespec(tv_sec: Int(entry.modified), tv_nsec: 0)
        guard futimens(number, [time, time]) == 0 else { throw KeysError.restore(place(entry), errno) }
    }
}
