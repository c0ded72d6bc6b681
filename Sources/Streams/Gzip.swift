import CZlib
import Core

/// One gzip member (RFC 1952), by zlib. Ten times the cost of zstd: for readers that know nothing else.
final class GzipCompressor: Compressor {
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)

    init(level: Int) throws {
        stream.initialize(to: z_stream())
        let status = deflateInit2_(
            stream, Int32(level), Z_DEFLATED, MAX_WBITS + gzipHeader, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else { throw CompressionError.library("gzip", "zlib answers \(status)") }
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    func step(_ input: inout UnsafeRawBufferPointer, end: Bool, into output: Chunk) throws -> Bool {
        var status = Z_OK
        try output.append { room in
            stream.supply(input, room)
            status = deflate(stream, end ? Z_FINISH : Z_NO_FLUSH)
            guard status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR else {
                throw CompressionError.library("gzip", "zlib answers \(status)")
            }
            return room.count - Int(stream.pointee.avail_out)
        }
        input = UnsafeRawBufferPointer(rebasing: input[(input.count - Int(stream.pointee.avail_in))...])
        return input.isEmpty && (end ? status == Z_STREAM_END : output.remaining > 0)
    }
}

/// Reads exactly one gzip member.
final class GzipDecompressor: Decompressor {
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private var isAtEnd = false

    init() throws {
        stream.initialize(to: z_stream())
        let status = inflateInit2_(
            stream, MAX_WBITS + gzipHeader, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else { throw CompressionError.library("gzip", "zlib answers \(status)") }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    func step(_ input: inout UnsafeRawBufferPointer, into output: Chunk) throws {
        guard !isAtEnd || input.isEmpty else { throw CompressionError.damaged("gzip", "something follows its end") }
        guard !isAtEnd else { return }
        try output.append { room in
            stream.supply(input, room)
            let status = inflate(stream, Z_NO_FLUSH)
            isAtEnd = status == Z_STREAM_END
            guard status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR else {
                throw CompressionError.damaged("gzip", "zlib answers \(status)")
            }
            return room.count - Int(stream.pointee.avail_out)
        }
        input = UnsafeRawBufferPointer(rebasing: input[(input.count - Int(stream.pointee.avail_in))...])
        if isAtEnd, !input.isEmpty { throw CompressionError.damaged("gzip", "something follows its end") }
    }

    func finish() throws {
        guard isAtEnd else { throw CompressionError.damaged("gzip", "it ends too early") }
    }
}

/// What zlib adds to the window bits to ask for a gzip header and trailer.
private let gzipHeader: Int32 = 16

extension UnsafeMutablePointer<z_stream> {
    fileprivate func supply(_ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer) {
        pointee.next_in = UnsafeMutablePointer<UInt8>(mutating: input.bindMemory(to: UInt8.self).baseAddress)
        pointee.avail_in = UInt32(input.count)
        pointee.next_out = output.bindMemory(to: UInt8.self).baseAddress
        pointee.avail_out = UInt32(output.count)
    }
}
