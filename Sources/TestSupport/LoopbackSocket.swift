import Glibc

/// TCP on the loopback, for servers and proxies of tests.
enum LoopbackSocket {
    /// A socket bound to `port` of 127.0.0.1, or to a free one where that is 0. Several may be bound to one port, so
    /// that a port stays taken while nobody listens there.
    static func bound(to port: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("no socket: error \(errno)") }
        set(descriptor, SO_REUSEPORT, Int32(1))
        set(descriptor, SO_REUSEADDR, Int32(1))
        guard withAddress(port, { Glibc.bind(descriptor, $0, $1) }) == 0 else {
            let code = errno
            close(descriptor)
            throw TestFailure("cannot bind port \(port) of the loopback: error \(code)")
        }
        return descriptor
    }

    /// The port that a bound socket has.
    static func port(of descriptor: Int32) -> Int {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    /// A connection to `port`; `nil` where nobody takes it.
    static func connected(to port: Int) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        guard withAddress(port, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            close(descriptor)
            return nil
        }
        prepare(descriptor)
        return descriptor
    }

    /// Small writes go out at once, and a write that gets nowhere comes back after a tenth of a second.
    static func prepare(_ descriptor: Int32) {
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, [Int32(1)], 4)
        set(descriptor, SO_SNDTIMEO, timeval(tv_sec: 0, tv_usec: 100_000))
    }

    /// Closing it will send a reset, and what has not been sent is thrown away.
    static func resetOnClose(_ descriptor: Int32) { set(descriptor, SO_LINGER, linger(l_onoff: 1, l_linger: 0)) }

    private static func set<Value: BitwiseCopyable>(_ descriptor: Int32, _ option: Int32, _ value: Value) {
        var value = value
        setsockopt(descriptor, SOL_SOCKET, option, &value, socklen_t(MemoryLayout<Value>.size))
    }

    private static func withAddress(
        _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
