import CLinux
import Core
import Glibc
import Streams

/// What is said over the socket of ``WALHandOver``: the client sends a file's name and a line break; the answer is one
/// byte, and for a file that is there pieces, each after its length in four bytes, big-endian, the last of length 0.
enum HandOverProtocol {
    static let found = UInt8(ascii: "F")
    static let notThere = UInt8(ascii: "N")
    static let failed = UInt8(ascii: "E")
    static let longestName = 64

    /// The source failed, rather than the socket.
    struct SourceFailed: Error {
        let cause: any Error
    }

    struct Broken: Error {}

    static func readName(_ socket: Int32, isCancelled: () -> Bool) throws -> String {
        var name: [UInt8] = []
        while name.count <= longestName {
            let byte = try UnixSocket.read(socket, count: 1, isCancelled)[0]
            if byte == UInt8(ascii: "\n") { return String(decoding: name, as: UTF8.self) }
            name.append(byte)
        }
        throw Broken()
    }

    static func answer(
        _ answer: WALReader.Answer, to socket: Int32, meter: ProgressMeter, isCancelled: () -> Bool
    ) throws {
        switch answer {
        case .notThere: try UnixSocket.write([notThere], to: socket, isCancelled)
        case .failed: try UnixSocket.write([failed], to: socket, isCancelled)
        case .found(let source):
            try UnixSocket.write([found], to: socket, isCancelled)
            do {
                while let chunk = try next(source) {
                    try UnixSocket.write(length(chunk.count), to: socket, isCancelled)
                    try UnixSocket.write(chunk.bytes, to: socket, isCancelled)
                    meter.add(chunk.count)
                }
            } catch {
                source.cancel()
                throw error
            }
            try UnixSocket.write(length(0), to: socket, isCancelled)
        }
    }

    private static func next(_ source: any ByteSource) throws(SourceFailed) -> Chunk? {
        do {
            return try source.next()
        } catch {
            throw SourceFailed(cause: error)
        }
    }

    private static func length(_ count: Int) -> [UInt8] {
        withUnsafeBytes(of: UInt32(count).bigEndian) { Array($0) }
    }
}

extension WALHandOver {
    /// How the client ends, as PostgreSQL reads a `restore_command`: "not there" is an answer, and a status above 125
    /// ends the recovery.
    package enum Fetched: Int32, Sendable {
        case written = 0
        case notThere = 1
        case failed = 200
    }

    /// The client: asks for the file `name` and writes it to `path`, which is not there afterwards unless it is whole.
    /// Blocks. What it is told to exit with is the result.
    package static func fetch(socket path: String, name: String, path target: String) -> Fetched {
        guard name.utf8.count <= HandOverProtocol.longestName, !name.utf8.contains(UInt8(ascii: "\n")) else {
            return .notThere
        }
        do {
            let socket = try UnixSocket.connect(path)
            defer { Glibc.close(socket) }
            try UnixSocket.write(Array("\(name)\n".utf8), to: socket) { false }
            switch try UnixSocket.read(socket, count: 1, { false })[0] {
            case HandOverProtocol.found: break
            case HandOverProtocol.notThere: return .notThere
            default: return .failed
            }
            do {
                try receive(socket, into: target)
                return .written
            } catch {
                unlink(target)
                return .failed
            }
        } catch {
            // Nobody answers: the job is gone, and the server must not take that for the end of the log.
            return .failed
        }
    }

    private static func receive(_ socket: Int32, into path: String) throws {
        let file = linux_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw HandOverProtocol.Broken() }
        defer { Glibc.close(file) }
        while true {
            let count = try UnixSocket.read(socket, count: 4) { false }.reduce(0) { $0 << 8 | Int($1) }
            guard count > 0 else { return }
            guard count <= Chunk.size else { throw HandOverProtocol.Broken() }
            var rest = try UnixSocket.read(socket, count: count) { false }[...]
            while !rest.isEmpty {
                let written = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
                if written < 0, errno == EINTR { continue }
                guard written > 0 else { throw HandOverProtocol.Broken() }
                rest = rest.dropFirst(written)
            }
        }
    }
}

/// A stream over a socket of this machine. Everything blocks; `isCancelled` is looked at twice a second.
enum UnixSocket {
    private static let pause: Int32 = 500

    static func listen(_ path: String) throws -> Int32 {
        let descriptor = try make()
        guard try withAddress(path, { bind(descriptor, $0, $1) }) == 0, Glibc.listen(descriptor, 8) == 0 else {
            let code = errno
            close(descriptor)
            throw PostgresError.directory("listen on the socket", path, error: code)
        }
        return descriptor
    }

    static func connect(_ path: String) throws -> Int32 {
        let descriptor = try make()
        guard try withAddress(path, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            let code = errno
            close(descriptor)
            throw PostgresError.directory("connect to the socket", path, error: code)
        }
        return descriptor
    }

    /// The next who connects; throws `CancellationError` once it is called off.
    static func accept(_ listener: Int32, isCancelled: () -> Bool) throws -> Int32 {
        while true {
            try wait(listener, POLLIN, slice: 50, isCancelled)
            let descriptor = Glibc.accept(listener, nil, nil)
            if descriptor >= 0, fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 { return descriptor }
            guard [EINTR, ECONNABORTED, EAGAIN].contains(errno) else {
                throw PostgresError.directory("take a call on the socket", "", error: errno)
            }
        }
    }

    /// Exactly `count` bytes.
    static func read(_ descriptor: Int32, count: Int, _ isCancelled: () -> Bool) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            try wait(descriptor, POLLIN, slice: pause, isCancelled)
            let got = bytes.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress?.advanced(by: filled), count - filled, 0)
            }
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { throw HandOverProtocol.Broken() }
            filled += got
        }
        return bytes
    }

    static func write(_ bytes: [UInt8], to descriptor: Int32, _ isCancelled: () -> Bool) throws {
        try bytes.withUnsafeBytes { try write($0, to: descriptor, isCancelled) }
    }

    static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, _ isCancelled: () -> Bool) throws {
        var rest = bytes
        while !rest.isEmpty {
            try wait(descriptor, POLLOUT, slice: pause, isCancelled)
            // A client that went away is an error to be handled, not a signal that ends us.
            let sent = send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            if sent < 0, errno == EINTR || errno == EAGAIN { continue }
            guard sent > 0 else { throw HandOverProtocol.Broken() }
            rest = UnsafeRawBufferPointer(rebasing: rest[sent...])
        }
    }

    private static func wait(_ descriptor: Int32, _ events: Int32, slice: Int32, _ isCancelled: () -> Bool) throws {
        while true {
            if isCancelled() { throw CancellationError() }
            var request = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let ready = poll(&request, 1, slice)
            if ready > 0 { return }
            if ready < 0, errno != EINTR { throw HandOverProtocol.Broken() }
        }
    }

    private static func make() throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw PostgresError.directory("make a socket", "", error: errno) }
        return descriptor
    }

    private static func withAddress<Value>(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
    ) throws -> Value {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw PostgresError.directory("use the socket", path, error: ENAMETOOLONG)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                body(generic, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
