import Glibc

/// The memory of chunks, used again and again.
///
/// A gibibyte passes through the byte path as thousands of buffers of a mebibyte, made in one thread and let go in
/// another. Given to the general allocator they either leave holes that grow the process by half (its arenas), or cost
/// more CPU than encryption does (a system call and 256 page faults for each). So those of the usual size come from here:
/// straight from the system, and a few are kept for the next.
///
/// Like the allocator whose place it takes it is one for the process; nothing but memory passes through it.
enum ChunkMemory {
    /// Bytes: a full chunk, and room for what a message adds to its frame.
    private static let blockSize = Chunk.size + (64 << 10)
    /// Smaller ones are the general allocator's.
    private static let smallest = Chunk.size / 2
    /// Blocks that lie ready at most: what one piece of an upload gives back at once.
    private static let mostIdle = 16

    // Addresses: raw pointers are not Sendable.
    private static let idle = Guarded<[UInt]>([])

    /// Memory for `capacity` bytes, aligned to 16, its content whatever was there.
    static func take(_ capacity: Int) -> UnsafeMutableRawBufferPointer {
        guard isBlock(capacity) else { return .allocate(byteCount: capacity, alignment: 16) }
        if let kept = idle.withLock({ $0.popLast() }), let base = UnsafeMutableRawPointer(bitPattern: kept) {
            return UnsafeMutableRawBufferPointer(start: base, count: capacity)
        }
        let base = mmap(nil, blockSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let base, base != MAP_FAILED else { preconditionFailure("the system has no memory left") }
        return UnsafeMutableRawBufferPointer(start: base, count: capacity)
    }

    /// Gives back what ``take(_:)`` gave for the same capacity.
    static func give(_ memory: UnsafeMutableRawBufferPointer) {
        guard isBlock(memory.count), let base = memory.baseAddress else { return memory.deallocate() }
        let isKept = idle.withLock { idle in
            guard idle.count < mostIdle else { return false }
            idle.append(UInt(bitPattern: base))
            return true
        }
        if !isKept { munmap(base, blockSize) }
    }

    private static func isBlock(_ capacity: Int) -> Bool { capacity > smallest && capacity <= blockSize }
}
