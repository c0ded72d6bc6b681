import CLinux
import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

/// `linux_start_owned` as ourselves, without input.
func startOwned(_ path: String, _ arguments: [UnsafeMutablePointer<CChar>?], output: Int32) -> Int32 {
    let nothing: [UnsafeMutablePointer<CChar>?] = [nil]
    return linux_start_owned(path, arguments, nothing, "/", -1, output, -1, -1, SIGQUIT)
}

@Suite("What a recovery refuses before it begins", .needs(.postgres))
struct RecoveryRefusalTests {
    private func refusal(
        _ directory: String, _ target: RecoveryTarget? = nil, disk: Bool = true,
        change: (inout RestoreRequest, inout RecoverySite) -> Void = { _, _ in }
    ) async throws -> PostgresError? {
        let fixture = try await RecoveryFixture.shared.value
        var request = fixture.request("refused", target)
        request.acknowledgeDisk = disk
        var site = fixture.site(directory, ["/bin/false"])
        change(&request, &site)
        do {
            _ = try await PostgresDirectory(site).plan(request)
            return nil
        } catch let error as PostgresError {
            #expect(!"\(error) \(error.hint)".contains(RecoveryFixture.marker))
            return error
        }
    }

    /// Targets that cannot be reached are refused by the plan, with the range that is possible.
    @Test("targets outside what is stored")
    func targets() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withClusterDirectory { directory in
            let base = try #require(PhysicalBase(fixture.base.manifest))
            let early = try await refusal(directory, RecoveryTarget(.lsn(base.start)))
            #expect(early?.cause.contains("before the end of this base backup; possible is from \(base.end)") == true)
            let late = try await refusal(directory, RecoveryTarget(.lsn(LSN(.max))))
            #expect(late?.cause.contains("after the end of what is stored") == true)
            let before = try await refusal(directory, RecoveryTarget(.time(microseconds: 1_000_000)))
            #expect(before?.cause.contains("1970-01-01 00:00:01.000000+00 is before the end") == true)
            let branch = try await refusal(directory, RecoveryTarget(.latest, timeline: 7))
            #expect(branch?.cause == "of the timeline 7 nothing is stored")
            #expect(branch?.exitCode == .restoreFailedOriginalIntact)
        }
    }

    /// A directory that holds anything, is on a disk that is too small, or that a server could not use is refused, and
    /// stays as it is.
    @Test("directories that do not fit")
    func directories() async throws {
        try await withClusterDirectory { directory in
            #expect(try await refusal(directory) == nil)
            let small = try await refusal(directory, disk: false) { request, _ in
                request.manifest.sourceSize = 1 << 60
            }
            #expect(small?.cause.contains("are needed there, and") == true)
            #expect(small?.exitCode == .restoreFailedOriginalIntact)
            // Sizes and ranges that somebody made up are no more than too much.
            let absurd = try await refusal(directory, RecoveryTarget(.latest), disk: false) { request, _ in
                request.manifest.sourceSize = .max
                request.recovery?.log = AbsurdLog()
            }
            #expect(absurd?.cause.contains("are needed there, and") == true)
            try writeFile("\(directory)/keep", "this")
            let full = try await refusal(directory)
            #expect(full?.cause.contains("it is not empty: there is 'keep'") == true)
            #expect(full?.exitCode == .restoreFailedOriginalIntact)
            #expect(try contentsOfFile("\(directory)/keep") == Array("this".utf8))
            let file = try await refusal("\(directory)/keep")
            #expect(file != nil)
            let nowhere = try await refusal("\(directory)/none/db")
            #expect(nowhere?.cause.contains("does not exist") == true)
        }
        for path in ["relative", "/", "/a/../b", "/a//b"] {
            let error = try await refusal(path)
            #expect(error?.exitCode == .configuration, "\(path)")
        }
        try await withScratchDirectory { directory in
            let error = try await refusal(directory)
            if geteuid() == 0 {
                #expect(
                    error?.cause.contains("belongs to root, and PostgreSQL's programs refuse to run as root") == true)
            } else {
                #expect(error == nil)
            }
        }
    }

    /// Only programs of the set's own major version can start it, and a library that is asked for has to be there.
    @Test("servers and libraries that are not here")
    func programs() async throws {
        try await withClusterDirectory { directory in
            let other = try await refusal(directory) { request, _ in
                request.manifest.details[PostgresCluster.Detail.major] = "9"
            }
            #expect(other?.kind == .toolVersion)
            #expect(other?.cause.contains("need a server of exactly version 9") == true)
            #expect(other?.exitCode == .restoreFailedOriginalIntact)
            let nothing = try await refusal(directory) { _, site in site.tools = ToolSearch(directories: ["/nowhere"])
            }
            #expect(nothing?.kind == .toolVersion)
            let library = try await refusal(directory) { _, site in site.preloadLibraries = ["no_such_library"] }
            #expect(
                library?.cause.contains("the library no_such_library of POSTGRES_PRELOAD_LIBRARIES is not") == true)
            let dump = try await refusal(directory) { request, _ in request.manifest.details = [:] }
            #expect(dump?.cause == "it is not a whole server's files")
        }
    }

    /// A directory belongs to one run at a time; what a killed one has left is known and replaced.
    @Test("a directory that another run has, but not what a killed run has left")
    func occupied() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withClusterDirectory { directory in
            let cluster = ClusterDirectory(path: directory)
            var problems: [String] = []
            let owner = try cluster.owner(problems: &problems)
            let engine = PostgresDirectory(fixture.site(directory, ["/bin/false"]))
            let plan = try await engine.plan(fixture.request("late", nil))
            do {
                let lock = try cluster.lock(owner: owner)
                let error = await #expect(throws: PostgresError.self) { _ = try await plan.stage() }
                #expect(error?.exitCode == .locked)
                withExtendedLifetime(lock) {}
            }
            try cluster.write(ClusterMarker(requestID: "killed", setKey: "daily/x", target: "somewhere"))
            mkdir("\(directory)/data", 0o700)
            try writeFile("\(directory)/data/half", "of it")
            let next = try await engine.plan(fixture.request("next", nil))
            #expect(next.summary.notes.contains("what an earlier run left unfinished there is removed first"))
            let staged = try await next.stage()
            #expect(access("\(directory)/data/half", F_OK) != 0)
            #expect(try await staged.inspect() == fixture.base.contents)
            try await staged.discard()
            try expectNothingLeft(in: directory)
        }
    }

    /// Bytes that are not what the server's manifest says are found before a server is started, by the file's name, and
    /// so is a file too many and one that is missing.
    @Test("sets whose files are not what their manifest says")
    func damaged() async throws {
        let fixture = try await RecoveryFixture.shared.value
        let whole = try #require(fixture.base.parts["base.tar"])
        let name = Array("global/pg_filenode.map".utf8)
        let place = try #require(whole.firstRange(of: name)?.lowerBound)
        var flipped = whole
        flipped[place + 512] ^= 1
        var extra = TestArchive()
        extra.add("global/stranger", [1, 2, 3])
        let cases: [([UInt8], String)] = [
            (flipped, "'global/pg_filenode.map' has another size or content than the manifest says"),
            (whole.dropLast(1024) + extra.whole, "'global/stranger' is not in the manifest"),
            (Array(whole.dropLast(1 << 20)), "the archive ends too early"),
        ]
        for (bytes, words) in cases {
            try await withClusterDirectory { directory in
                var request = fixture.request("damaged", nil)
                var parts = fixture.base.parts
                parts["base.tar"] = bytes
                request.parts = MemoryParts(parts: parts)
                let engine = PostgresDirectory(fixture.site(directory, ["/bin/false"]))
                let error = await #expect(throws: PostgresError.self) { try await engine.restore(request) }
                #expect(error?.cause.contains(words) == true, "\(words): \(error?.cause ?? "")")
                #expect(error?.exitCode == .verificationFailed)
                try expectNothingLeft(in: directory)
            }
        }
    }
}

/// Says that it has more than there can be, twice, and a range that ends before it begins.
private struct AbsurdLog: WALLibrary {
    func ranges(of systemID: String) async throws -> [WALRange] {
        let all = WALRange(timeline: 1, begin: LSN(0), end: LSN(.max))
        return [all, all, WALRange(timeline: 1, begin: LSN(.max), end: LSN(1 << 40))]
    }

    func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? { nil }
}
