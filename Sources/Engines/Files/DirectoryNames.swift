import CLinux
import Glibc

/// Where the name begins in what readdir(3) returns: after the inode, the offset, the length and the type.
private let nameOffset = MemoryLayout<dirent>.offset(of: \.d_name) ?? 19

/// The names in an open directory, in batches: of a directory with millions of files only so many are held at once.
final class DirectoryNames {
    /// Bytes of names in a batch: some 40,000 usual ones.
    static let batchSize = 1 << 20

    /// The directory itself; not to be used once this is let go.
    let directory: OpenFile
    private let stream: OpaquePointer
    private var bytes: [UInt8] = []
    private var names: [Range<Int>] = []
    private var isAtEnd = false
    private let batchSize: Int

    /// Opens the directory `name` of `parent`; a symbolic link is none.
    convenience init(
        _ name: [CChar], in parent: OpenFile, batchSize: Int = DirectoryNames.batchSize
    ) throws(CallFailure) {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        try self.init(
            taking: try system { linux_open_at(parent.number, name, flags, 0) }, batchSize: batchSize)
    }

    /// Opens the directory at `path`, whose last piece is no symbolic link.
    convenience init(path: String, batchSize: Int = DirectoryNames.batchSize) throws(CallFailure) {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        try self.init(taking: try system { linux_open(path, flags, 0) }, batchSize: batchSize)
    }

    private init(taking descriptor: Int32, batchSize: Int) throws(CallFailure) {
        guard let stream = fdopendir(descriptor) else {
            let code = errno
            close(descriptor)
            throw CallFailure(code: code)
        }
        directory = OpenFile(borrowed: descriptor)
        self.stream = stream
        self.batchSize = batchSize
    }

    deinit { closedir(stream) }

    /// The next name; `nil` after the last. Sorted by its bytes among those of its batch, so that two readings of a
    /// usual directory have one order.
    func next() throws(CallFailure) -> [UInt8]? {
        if names.isEmpty {
            guard !isAtEnd else { return nil }
            try fill()
        }
        return names.popLast().map { Array(bytes[$0]) }
    }

    /// Gives no further names.
    func skip() {
        names.removeAll()
        isAtEnd = true
    }

    private func fill() throws(CallFailure) {
        bytes.removeAll(keepingCapacity: true)
        while bytes.count < batchSize {
            errno = 0
            guard let entry = readdir(stream) else {
                let code = errno
                if code != 0 { throw CallFailure(code: code) }
                isAtEnd = true
                break
            }
            let start = UnsafeRawPointer(entry).advanced(by: nameOffset)
            let name = UnsafeRawBufferPointer(
                start: start, count: strlen(start.assumingMemoryBound(to: CChar.self)))
            if name.elementsEqual(".".utf8) || name.elementsEqual("..".utf8) { continue }
            names.append(bytes.count..<bytes.count + name.count)
            bytes.append(contentsOf: name)
        }
        // Backwards, so that the next is the last.
        bytes.withUnsafeBufferPointer { bytes in
            names.sort { bytes[$1].lexicographicallyPrecedes(bytes[$0]) }
        }
    }
}
