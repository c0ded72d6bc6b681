import Glibc

/// Text that must never be shown. Logging, interpolating or mirroring it prints a mask; only
/// ``withRevealed(_:)`` gives the text, so every use can be found.
package struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let text: String

    package init(_ text: String) { self.text = text }

    package var description: String { "••••" }
    package var debugDescription: String { "••••" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
    package var isEmpty: Bool { text.isEmpty }

    package func withRevealed<Result, E: Error>(_ body: (String) throws(E) -> Result) throws(E) -> Result {
        try body(text)
    }
}

/// Key bytes that are wiped when they are let go.
package final class SecretBytes: @unchecked Sendable, CustomStringConvertible, CustomReflectable {
    private let storage: UnsafeMutableRawBufferPointer

    /// Copies `bytes`; the caller's own copy is the caller's to wipe.
    package init(_ bytes: UnsafeRawBufferPointer) {
        storage = .allocate(byteCount: bytes.count, alignment: 16)
        storage.copyMemory(from: bytes)
    }

    /// Takes `bytes` over and wipes them where they were.
    package convenience init(wiping bytes: inout [UInt8]) {
        self.init(bytes.withUnsafeBytes { UnsafeRawBufferPointer($0) })
        bytes.withUnsafeMutableBytes { wipe($0) }
        bytes.removeAll()
    }

    deinit {
        wipe(storage)
        storage.deallocate()
    }

    package var count: Int { storage.count }
    package var description: String { "••••" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }

    package func withBytes<Result, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> Result
    ) throws(E) -> Result {
        try body(UnsafeRawBufferPointer(storage))
    }
}

/// Overwrites `bytes` with zeros in a way the optimiser keeps.
package func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    explicit_bzero(base, bytes.count)
}
