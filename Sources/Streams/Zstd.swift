import CZstd
import Core
import Glibc

/// One zstd frame with its checksum, by libzstd.
///
/// Usually without worker threads: on two cores the server and the dump tool leave just enough for one thread of ours,
/// and each further one was measured to slow the dump down. A source that has neither leaves a core idle.
final class ZstdCompressor: Compressor {
    /// Bytes that a worker takes at once.
    private static let jobSize = 2 << 20
    /// More would need more memory than they save time.
    private static let mostWorkers = 4
    /// Above it each worker's tables and window take tens of mebibytes.
    private static let highestLevelForWorkers = 3

    /// As many as there are cores; none where there is one, for the caller's thread is as quick.
    static func workersOfEveryCore(level: Int) -> Int {
        let cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        return cores > 1 && level <= highestLevelForWorkers ? min(cores, mostWorkers) : 0
    }

    private let context: OpaquePointer
    let mostHeld: Int64

    /// `workers`: threads that compress; 0 for the caller's own.
    init(level: Int, workers: Int = 0) throws {
        guard let context = ZSTD_createCCtx() else { throw CompressionError.library("zstd", "out of memory") }
        self.context = context
        // Each worker's piece, those that wait before and after them, and the window.
        mostHeld = Int64(workers > 0 ? (2 * workers + 2) * Self.jobSize : Self.jobSize)
        try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Int32(level)))
        try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1))
        guard workers > 0 else { return }
        try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_nbWorkers, Int32(workers)))
        try Self.check(ZSTD_CCtx_setParameter(context, ZSTD_c_jobSize, Int32(Self.jobSize)))
    }

    deinit { ZSTD_freeCCtx(context) }

    func step(_ input: inout UnsafeRawBufferPointer, end: Bool, into output: Chunk) throws -> Bool {
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        let directive = end ? ZSTD_e_end : ZSTD_e_continue
        var pending = 0
        try output.append { room in
            var target = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: 0)
            repeat {
                pending = ZSTD_compressStream2(context, &target, &source, directive)
                try Self.check(pending)
            } while target.pos < target.size && (source.pos < source.size || (end && pending > 0))
            return target.pos
        }
        input = UnsafeRawBufferPointer(rebasing: input[source.pos...])
        return input.isEmpty && (!end || pending == 0)
    }

    private static func check(_ result: Int) throws {
        guard ZSTD_isError(result) == 0 else {
            throw CompressionError.library("zstd", String(cString: ZSTD_getErrorName(result)))
        }
    }
}

/// Reads exactly one zstd frame.
final class ZstdDecompressor: Decompressor {
    /// The largest window a frame of ours needs (level 19) is 8 MiB; more would let a foreign set take our memory.
    private static let windowLog: Int32 = 24

    private let context: OpaquePointer
    private var isAtEnd = false

    init() throws {
        guard let context = ZSTD_createDCtx() else { throw CompressionError.library("zstd", "out of memory") }
        self.context = context
        _ = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.windowLog)
    }

    deinit { ZSTD_freeDCtx(context) }

    func step(_ input: inout UnsafeRawBufferPointer, into output: Chunk) throws {
        guard !isAtEnd || input.isEmpty else { throw CompressionError.damaged("zstd", "something follows its end") }
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        try output.append { room in
            var target = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: 0)
            while !isAtEnd, target.pos < target.size {
                let before = (source.pos, target.pos)
                let result = ZSTD_decompressStream(context, &target, &source)
                guard ZSTD_isError(result) == 0 else {
                    throw CompressionError.damaged("zstd", String(cString: ZSTD_getErrorName(result)))
                }
                isAtEnd = result == 0
                if before == (source.pos, target.pos) { break }
            }
            return target.pos
        }
        input = UnsafeRawBufferPointer(rebasing: input[source.pos...])
        if isAtEnd, !input.isEmpty { throw CompressionError.damaged("zstd", "something follows its end") }
    }

    func finish() throws {
        guard isAtEnd else { throw CompressionError.damaged("zstd", "it ends too early") }
    }
}
