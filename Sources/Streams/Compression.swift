package import Core

/// Makes a compressed stream, step by step, straight into the buffers it will be encrypted from.
package protocol Compressor: AnyObject {
    /// Takes from the front of `input` and adds to `output` until one of them is used up. With `end`, also what is held
    /// inside. `true` once nothing is left to take or to write; otherwise `output` is full: call again with another.
    func step(_ input: inout UnsafeRawBufferPointer, end: Bool, into output: Chunk) throws -> Bool
    /// The most bytes it may have taken and not yet given.
    var mostHeld: Int64 { get }
}

extension Compressor {
    package var mostHeld: Int64 { 2 << 20 }
}

/// Reads a compressed stream, step by step.
package protocol Decompressor: AnyObject {
    /// Takes from the front of `input` and adds to `output` until `input` is used up or `output` is full. Bytes after
    /// the end of the stream are an error.
    func step(_ input: inout UnsafeRawBufferPointer, into output: Chunk) throws
    /// Throws unless the stream is at its end.
    func finish() throws
}

/// Damage inside the compression layer, or a library that gave up.
package struct CompressionError: Failure {
    package var codec: String
    package var cause: String
    package var exitCode: ExitCode
    package var operation: String
    package var object: String { codec }

    package var hint: String {
        exitCode == .verificationFailed
            ? "the part is damaged; restore another set, or the second copy, and keep this one for examination"
            : "give the job more memory, or choose a lower BACKUP_COMPRESSION_LEVEL"
    }

    static func damaged(_ codec: String, _ cause: String) -> CompressionError {
        CompressionError(codec: codec, cause: cause, exitCode: .verificationFailed, operation: "decompress the part")
    }

    static func library(_ codec: String, _ cause: String) -> CompressionError {
        CompressionError(codec: codec, cause: cause, exitCode: .source, operation: "compress the part")
    }
}

extension Compression {
    /// `onEveryCore`: in threads of its own beside the caller's, where the algorithm can.
    package func makeCompressor(onEveryCore: Bool = false) throws -> any Compressor {
        switch algorithm {
        case .zstd:
            try ZstdCompressor(
                level: level, workers: onEveryCore ? ZstdCompressor.workersOfEveryCore(level: level) : 0)
        case .gzip: try GzipCompressor(level: level)
        case .none: PlainCompressor()
        }
    }

    package func makeDecompressor() throws -> any Decompressor {
        switch algorithm {
        case .zstd: try ZstdDecompressor()
        case .gzip: try GzipDecompressor()
        case .none: PlainDecompressor()
        }
    }
}

/// No compression: for sources that are compressed already.
final class PlainCompressor: Compressor {
    func step(_ input: inout UnsafeRawBufferPointer, end: Bool, into output: Chunk) -> Bool {
        let count = output.append(input)
        input = UnsafeRawBufferPointer(rebasing: input[count...])
        return input.isEmpty
    }
}

final class PlainDecompressor: Decompressor {
    func step(_ input: inout UnsafeRawBufferPointer, into output: Chunk) {
        let count = output.append(input)
        input = UnsafeRawBufferPointer(rebasing: input[count...])
    }

    func finish() {}
}
