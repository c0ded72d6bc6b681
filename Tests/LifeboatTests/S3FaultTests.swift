import Core
import Glibc
import TestSupport
import Testing

/// The program behind a bad line to its bucket: a backup succeeds with a set that verifies or fails with the store's
/// exit code and no set; a verify and a restore succeed or say why not; no upload in pieces stays behind.
@Suite(.serialized, .needs(.postgres), .needs(CephCluster.part), .needs(MotoServer.part))
struct S3FaultTests {
    /// In each direction.
    private static let points = runsSoak ? 100 : 6

    /// Everything goes up in pieces, even what little a test has.
    private func withLine(_ body: (S3Site, FaultProxy) async throws -> Void) async throws {
        try await S3Site.with(Clinic.sql(patients: 400), overTLS: false) { s3 in
            let port = try #require(Int(s3.ceph.url.split(separator: ":").last ?? ""))
            try await withFaultProxy(to: port) { proxy in
                var s3 = s3
                s3.environment["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:\(proxy.port)"
                s3.environment["S3_MULTIPART_THRESHOLD"] = "65536"
                s3.environment["BACKUP_COMPRESSION"] = "none"
                try await body(s3, proxy)
            }
        }
    }

    /// The set of the backup at `second`, proven without the bad line, or none, as the exit code says.
    private func expectWholeOrNone(_ s3: S3Site, _ ended: Binary.Ended, _ second: Int, _ fault: String) async throws {
        let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(second))
        let manifests = try await s3.manifests().filter { $0.contains(time.keyText) }
        if ended.exitCode == 0 {
            #expect(manifests.count == 1, "\(fault): \(ended)")
            let verified = try await s3.event(
                ["backupKey": .string(ended.text("backupKey") ?? "")],
                environment: ["AWS_ENDPOINT_URL_S3": s3.ceph.url])
            #expect(verified.text("verdict") == "proven", "\(fault)")
        } else {
            #expect(ended.exitCode == Core.ExitCode.store.rawValue, "\(fault): \(ended)")
            #expect(manifests.isEmpty, "\(fault): \(ended)")
        }
        try await s3.expectNoUploads()
    }

    private static func offsets(within total: Int, seed: UInt64) -> [Int] {
        var random = SeededRandom(seed: seed)
        let width = max(1, total / points)
        return (0..<points).map { $0 * width + Int.random(in: 0..<width, using: &random) }
    }

    @Test("A backup whose line is reset at any point, either way, makes its set")
    func resetBackups() async throws {
        try await withLine { s3, proxy in
            let start = proxy.counts
            _ = try await s3.backup()
            let (up, down) = (proxy.counts.bytesUp - start.bytesUp, proxy.counts.bytesDown - start.bytesDown)
            var second = 0
            for (direction, total, seed) in [(FaultProxy.Direction.up, up, UInt64(1)), (.down, down, 2)] {
                for offset in Self.offsets(within: total, seed: seed) {
                    second += 1
                    proxy.reset(direction, after: offset)
                    let ended = try await s3.run(S3Site.backupEvent(second))
                    proxy.clear()
                    #expect(ended.exitCode == 0, "\(direction) at \(offset): \(ended)")
                    try await expectWholeOrNone(s3, ended, second, "\(direction) at \(offset)")
                }
            }
            #expect(proxy.counts.resets > Self.points)
        }
    }

    @Test("A verify and a restore whose line is reset at any point go on where they were")
    func resetReading() async throws {
        try await withLine { s3, proxy in
            let key = try await s3.backup()
            let before = try await s3.site.fingerprint()
            let start = proxy.counts.bytesDown
            try await s3.event(["backupKey": .string(key)])
            let total = proxy.counts.bytesDown - start
            for offset in Self.offsets(within: total, seed: 3) {
                proxy.reset(.down, after: offset)
                let ended = try await s3.event(["backupKey": .string(key)])
                #expect(ended.text("verdict") == "proven", "at \(offset): \(ended)")
                proxy.clear()
            }
            proxy.reset(.down, after: total / 2)
            try await s3.event(s3.site.confirmedRestore(key))
            #expect(try await s3.site.fingerprint() == before)
        }
    }

    @Test("Lines that always break, and 503 without end, fail with the store's code, a hint, and no set")
    func hopeless() async throws {
        try await withLine { s3, proxy in
            let few = ["AWS_MAX_ATTEMPTS": "2"]
            proxy.resetEachConnection(.up, after: 100_000)
            let broken = try await s3.run(S3Site.backupEvent(), environment: few)
            proxy.clear()
            #expect(broken.exitCode == Core.ExitCode.store.rawValue && !broken.error("hint").isEmpty, "\(broken)")
            try await expectWholeOrNone(s3, broken, 0, "breaking line")
            proxy.answerSlowDown(requests: 1_000_000)
            let busy = try await s3.run(S3Site.backupEvent(1), environment: few)
            proxy.clear()
            #expect(busy.exitCode == Core.ExitCode.store.rawValue && busy.output.contains("SlowDown"), "\(busy)")
            try await expectWholeOrNone(s3, busy, 1, "503")
        }
    }

    @Test("A burst of 503, a line that is cut for a while and a narrow one are lived through")
    func passing() async throws {
        try await withLine { s3, proxy in
            proxy.answerSlowDown(requests: 5)
            let burst = try await s3.run(S3Site.backupEvent())
            #expect(burst.exitCode == 0, "\(burst)")
            try await expectWholeOrNone(s3, burst, 0, "burst")

            proxy.refuse()
            let cut = try await s3.run(S3Site.backupEvent(1)) { _ in
                // How long nobody answers is the test's subject, so it has to be a real time.
                try await Task.sleep(for: .seconds(runsSoak ? 10 : 2))
                try proxy.accept()
            }
            #expect(cut.exitCode == 0, "\(cut)")
            try await expectWholeOrNone(s3, cut, 1, "refused")

            proxy.limitRate(bytesPerSecond: 500_000)
            let narrow = try await s3.run(S3Site.backupEvent(2))
            proxy.clear()
            #expect(narrow.exitCode == 0, "\(narrow)")
            try await expectWholeOrNone(s3, narrow, 2, "narrow")
        }
    }

    @Test("Wrong bytes in either direction never make a set that does not verify, nor a proof of a damaged one")
    func corruption() async throws {
        try await withLine { s3, proxy in
            let key = try await s3.backup()
            var second = 0
            for offset in Self.offsets(within: 200_000, seed: 4) {
                second += 1
                proxy.corrupt(.up, bodyByte: offset)
                let ended = try await s3.run(S3Site.backupEvent(second))
                proxy.clear()
                try await expectWholeOrNone(s3, ended, second, "corrupted up at \(offset)")
            }
            let allowed: [Core.ExitCode] = [.store, .verificationFailed, .inconclusive, .keys]
            let start = proxy.counts.bodyBytesDown
            try await s3.event(["backupKey": .string(key)])
            let total = proxy.counts.bodyBytesDown - start
            for offset in Self.offsets(within: total, seed: 5) {
                proxy.corrupt(.down, bodyByte: offset)
                let ended = try await s3.run(["backupKey": .string(key)])
                let wasHit = proxy.counts.corruptions
                proxy.clear()
                let code = ended.exitCode ?? -1
                #expect(code == 0 || allowed.contains { $0.rawValue == code }, "at \(offset) (\(wasHit)): \(ended)")
            }
        }
    }
}
