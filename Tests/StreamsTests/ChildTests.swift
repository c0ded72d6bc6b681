import Core
import Streams
import Testing

/// Children here are shells, for what a shell does is known; Lifeboat itself never starts one.
private func shell(_ script: String, label: String = "sh") -> ChildCommand {
    ChildCommand(
        executable: "/bin/sh", arguments: ["-c", script], environment: ["PATH": "/usr/bin:/bin"], label: label)
}

private func collect(_ source: any ByteSource) async throws -> [UInt8] {
    try await onThread("collect") { try source.collect(limit: 64 << 20) }
}

struct ChildOutputTests {
    @Test("All of a child's output arrives, and the end only after it exited 0")
    func output() async throws {
        let output = try ChildOutput(shell("head -c 5000000 /dev/zero; printf end"))
        let bytes = try await collect(output)
        #expect(bytes.count == 5_000_003)
        #expect(bytes.suffix(3).elementsEqual("end".utf8))
    }

    @Test("A child that writes everything and then exits 1 is a failure, with the end of its standard error")
    func lateFailure() async throws {
        let output = try ChildOutput(shell("echo whole; echo 'it went wrong' >&2; exit 1", label: "dumper"))
        let failure = await #expect(throws: ChildFailure.self) { try await collect(output) }
        #expect(failure?.ending == .exited(1))
        #expect(failure?.errorTail == Array("it went wrong\n".utf8))
        #expect(failure?.summary == "dumper exited with status 1")
    }

    @Test("A child that is killed midway is a failure that names the signal")
    func killed() async throws {
        let output = try ChildOutput(shell("echo half; kill -KILL $$"))
        let failure = await #expect(throws: ChildFailure.self) { try await collect(output) }
        #expect(failure?.ending == .signalled(9))
    }

    @Test("A program that is not there is a failure that says so")
    func missing() async throws {
        let output = try ChildOutput(
            ChildCommand(executable: "/no/such/program", arguments: [], environment: [:], label: "pg_dump"))
        let failure = await #expect(throws: ChildFailure.self) { try await collect(output) }
        #expect(failure?.summary.contains("/no/such/program") == true)
    }

    @Test("Megabytes on standard error hold nothing up, and only the last of them is kept")
    func noisy() async throws {
        let output = try ChildOutput(shell("head -c 3000000 /dev/zero >&2; printf last >&2; echo ok; exit 3"))
        let failure = await #expect(throws: ChildFailure.self) { try await collect(output) }
        #expect((failure?.errorTail.count ?? 0) <= 16 << 10)
        #expect(failure?.errorTail.suffix(4).elementsEqual("last".utf8) == true)
    }

    @Test("Cancelling ends a child that would run for ever, and what it started")
    func cancel() async throws {
        let output = try ChildOutput(shell("sleep 1000 & echo $!; wait"))
        let first = try await onThread("first") {
            // The first chunk only comes when it is full or the child ends, so the cancellation comes from outside.
            output.cancel()
            return try? output.next()
        }
        #expect(first == nil)
        await output.ended()
    }

    @Test("A child sees the environment it was given and nothing of ours")
    func environment() async throws {
        let command = ChildCommand(
            executable: "/usr/bin/env", arguments: [], environment: ["PGAPPNAME": "lifeboat"], label: "env")
        #expect(try await runChild(command, outputLimit: 1 << 16) == Array("PGAPPNAME=lifeboat\n".utf8))
    }
}

struct ChildInputTests {
    @Test("A child gets everything on its standard input and is waited for")
    func feeds() async throws {
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let meter = ProgressMeter()
        try await feedChild(
            shell("test \"$(cksum | cut -d' ' -f2)\" = 3000000"), from: MemorySource(bytes), meter: meter)
        #expect(meter.reading.bytes == 3_000_000)
    }

    @Test("When the source fails the child is ended before its input is closed, so that it cannot take half for all")
    func endedBeforeClosed() async throws {
        // The child writes a mark where it meets the end of its input; it must not live to.
        let mark = "/tmp/lifeboat-mark-\(UInt64.random(in: 0...UInt64.max))"
        let command = shell("cat >/dev/null; touch \(mark)")
        let error = await #expect(throws: JobFailure.self) {
            try await feedChild(command, from: BreakingSource(after: 3), meter: ProgressMeter())
        }
        #expect(error?.cause == "it broke")
        let marked = try await runChild(shell("ls \(mark) 2>/dev/null || true"), outputLimit: 1 << 10)
        #expect(marked.isEmpty)
    }

    @Test("A child that stops reading early is a failure even where it exits 0")
    func closedInput() async throws {
        let failure = await #expect(throws: ChildFailure.self) {
            try await feedChild(
                shell("head -c 10 >/dev/null"), from: MemorySource([UInt8](repeating: 7, count: 8 << 20)),
                meter: ProgressMeter())
        }
        #expect(failure?.ending == .closedInput)
    }

    @Test("A child that fails midway is a failure with its status")
    func failsMidway() async throws {
        let failure = await #expect(throws: ChildFailure.self) {
            try await feedChild(
                shell("head -c 10 >/dev/null; exit 3"), from: MemorySource([UInt8](repeating: 7, count: 8 << 20)),
                meter: ProgressMeter())
        }
        #expect(failure?.ending == .exited(3))
    }

    @Test("Cancelling the task ends a child that does not read")
    func cancelled() async throws {
        let task = Task {
            try await feedChild(
                shell("sleep 1000"), from: MemorySource([UInt8](repeating: 7, count: 8 << 20)), meter: ProgressMeter()
            )
        }
        task.cancel()
        await #expect(throws: (any Error).self) { try await task.value }
    }
}

/// Gives a few chunks and then fails.
final class BreakingSource: ByteSource {
    private let left: Guarded<Int>

    init(after chunks: Int) { left = Guarded(chunks) }

    func next() throws -> Chunk? {
        try left.withLock { left in
            guard left > 0 else { throw JobFailure(.source, "read", cause: "it broke", hint: "mend it") }
            left -= 1
            return Chunk([UInt8](repeating: 9, count: 1000))
        }
    }

    func cancel() {}
}
