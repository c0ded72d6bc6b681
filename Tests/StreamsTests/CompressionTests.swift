import Core
import Streams
import TestSupport
import Testing

struct CompressionTests {
    private static let codecs = [
        Compression(algorithm: .zstd, level: 1), Compression(algorithm: .zstd, level: 19),
        Compression(algorithm: .gzip, level: 6), Compression(algorithm: .none, level: 0),
    ]

    private static func text(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 / 7) &* 13 &+ ($0 % 11)) }
    }

    private static func compress(_ bytes: [UInt8], _ compression: Compression, chunk: Int) throws -> [UInt8] {
        let compressor = try compression.makeCompressor()
        var result: [UInt8] = []
        let source = MemorySource(bytes, chunkSize: chunk)
        var isDone = false
        while !isDone {
            let input = try source.next()
            var rest = input?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
            repeat {
                // Small outputs, so that every place where the output is full is met.
                let output = Chunk(capacity: 100)
                isDone = try compressor.step(&rest, end: input == nil, into: output)
                result.append(contentsOf: output.bytes)
            } while !isDone
            isDone = input == nil
        }
        return result
    }

    private static func decompress(_ bytes: [UInt8], _ compression: Compression, chunk: Int) throws -> [UInt8] {
        let decompressor = try compression.makeDecompressor()
        var result: [UInt8] = []
        let source = MemorySource(bytes, chunkSize: chunk)
        while let input = try source.next() {
            var rest = input.bytes
            var isFull = true
            while !rest.isEmpty || isFull {
                let output = Chunk(capacity: 100)
                try decompressor.step(&rest, into: output)
                isFull = output.remaining == 0
                result.append(contentsOf: output.bytes)
            }
        }
        try decompressor.finish()
        return result
    }

    @Test(
        "What is compressed comes back the same, at any size and any split", arguments: codecs,
        [0, 1, 99, 100, 101, 50_000])
    func roundTrip(_ compression: Compression, _ size: Int) throws {
        let bytes = Self.text(size)
        for chunk in [1, 77, 1 << 20] where chunk > 1 || size < 1000 {
            let packed = try Self.compress(bytes, compression, chunk: chunk)
            #expect(try Self.decompress(packed, compression, chunk: chunk) == bytes)
        }
    }

    @Test("On every core it is one frame like any other, and what it may hold is bounded")
    func onEveryCore() throws {
        var random = SeededRandom(seed: 7)
        let bytes = (0..<24 << 20).map { $0 % 5 == 0 ? UInt8.random(in: 0...255, using: &random) : UInt8($0 & 15) }
        let compression = Compression(algorithm: .zstd, level: 1)
        let compressor = try compression.makeCompressor(onEveryCore: true)
        let source = MemorySource(bytes)
        var packed: [UInt8] = []
        var given: Int64 = 0
        while let input = try source.next() {
            var rest = input.bytes
            repeat {
                let output = Chunk()
                _ = try compressor.step(&rest, end: false, into: output)
                packed.append(contentsOf: output.bytes)
            } while !rest.isEmpty
            given += Int64(input.count)
        }
        let before = packed.count
        var isDone = false
        var nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        while !isDone {
            let output = Chunk()
            isDone = try compressor.step(&nothing, end: true, into: output)
            packed.append(contentsOf: output.bytes)
        }
        #expect(Int64(packed.count - before) <= compressor.mostHeld)
        #expect(try Self.decompress(packed, compression, chunk: 1 << 20) == bytes)
    }

    @Test("A stream that is cut short, or goes on after its end, is refused", arguments: codecs.prefix(3))
    func damaged(_ compression: Compression) throws {
        let packed = try Self.compress(Self.text(5000), compression, chunk: 1000)
        for length in [0, 1, packed.count / 2, packed.count - 1] {
            #expect(throws: CompressionError.self) {
                try Self.decompress(Array(packed[..<length]), compression, chunk: 1 << 20)
            }
        }
        #expect(throws: CompressionError.self) { try Self.decompress(packed + [0], compression, chunk: 1 << 20) }
        #expect(throws: CompressionError.self) { try Self.decompress(packed + [0], compression, chunk: 1) }
    }

    @Test("The field's own programs read what we write", arguments: [("zstd", 0), ("gzip", 2)])
    func foreignReaders(_ program: String, _ codec: Int) async throws {
        let bytes = Self.text(200_000)
        let packed = try Self.compress(bytes, Self.codecs[codec], chunk: 1 << 16)
        let command = ChildCommand(
            executable: "/bin/sh", arguments: ["-c", "\(program) -dc | cksum | grep -q ' 200000$'"],
            environment: ["PATH": "/usr/bin:/bin"], label: program)
        try await feedChild(command, from: MemorySource(packed), meter: ProgressMeter())
    }
}

struct StageTests {
    @Test("An observer sees every byte, and the end waits for its verdict")
    func observed() async throws {
        let seen = Guarded(0)
        let source = try ObservedSource(MemorySource([UInt8](repeating: 1, count: 3 << 20)), name: "observer") {
            chunk in
            seen.withLock { $0 += chunk.count }
        }
        try await drain(source)
        #expect(seen.value == 3 << 20)
    }

    @Test("An observer's error is the source's, even where it comes with the last chunk")
    func observerFails() async throws {
        let seen = Guarded(0)
        let source = try ObservedSource(MemorySource([1, 2, 3], chunkSize: 1), name: "observer") { _ in
            let count = seen.withLock { seen in
                seen += 1
                return seen
            }
            if count == 3 { throw JobFailure(.source, "look", cause: "it is wrong", hint: "mend it") }
        }
        let error = await #expect(throws: JobFailure.self) { try await drain(source) }
        #expect(error?.cause == "it is wrong")
    }

    @Test("Prefetching changes nothing but the thread, and hands on the base's error")
    func prefetched() async throws {
        let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
        let ahead = try PrefetchedSource(MemorySource(bytes, chunkSize: 999), depth: 3, name: "ahead")
        #expect(try await onThread("collect") { try ahead.collect(limit: 1 << 20) } == bytes)
        let broken = try PrefetchedSource(BreakingSource(after: 5), depth: 3, name: "ahead")
        await #expect(throws: JobFailure.self) { try await drain(broken) }
    }

    @Test("A rate limit holds its base back by the bytes it has given")
    func rateLimited() throws {
        let time = Guarded(0.0)
        let clock = BlockingClock(seconds: { time.value }, pause: { pause in time.withLock { $0 += pause } })
        let source = RateLimitedSource(
            MemorySource([UInt8](repeating: 1, count: 10_000), chunkSize: 1000), bytesPerSecond: 2000, clock: clock)
        _ = try source.collect(limit: 1 << 20)
        #expect(abs(time.value - 5) < 0.01)
    }
}
