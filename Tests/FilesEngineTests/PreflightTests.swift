import Core
import Glibc
import TestSupport
import Testing

@testable import FilesEngine

struct PreflightTests {
    @Test func everythingAgainstARestoreIsSaidAtOnce() async throws {
        // Shows that problems of several trees come in one refusal, before anything is touched.
        try await withScratchDirectory { scratch in
            let (a, b) = ("\(scratch)/a", "\(scratch)/b")
            try shell(#"mkdir "$1" "$2"; touch "$1/f" "$2/f""#, a, b)
            let set = try await engine(a, b).take()
            try shell(#"mv "$2" "$2.real"; ln -s "$2.real" "$2""#, a, b)
            let failure = try await failure(.restoreFailedOriginalIntact) {
                _ = try await FilesSource(paths: [b]).engine().plan(set.request("r"))
            }
            #expect(failure.cause.contains("'\(a)' stands there, but FILES_PATHS does not name"))
            #expect(failure.cause.contains("'\(b)' is a symbolic link"))
            #expect(try names(scratch).sorted() == ["a", "b", "b.real"])
        }
    }

    @Test(.needs(.mounting)) func mountPointsAreRefused() async throws {
        // Shows that a tree which is a mount point, and one with something mounted in it, are refused by name.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try shell(#"mkdir -p "$1/in side"; touch "$1/f""#, tree)
            let set = try await engine(tree).take()
            try await withMount("\(tree)/in side") {
                let failure = try await failure(.restoreFailedOriginalIntact) {
                    _ = try await engine(tree).plan(set.request("r"))
                }
                #expect(failure.cause.contains("mounted inside") && failure.cause.contains("in side"))
            }
            try await withMount(tree) {
                let failure = try await failure(.restoreFailedOriginalIntact) {
                    _ = try await engine(tree).plan(set.request("r"))
                }
                #expect(failure.cause.contains("is a mount point"))
            }
            _ = try await engine(tree).plan(set.request("r"))
        }
    }

    @Test func destinationsHaveToBeThere() async throws {
        // Shows that a destination which is missing, or a file on the way, is refused rather than made.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try shell(#"mkdir "$1"; touch "$1/f""#, tree)
            let set = try await engine(tree).take()
            let missing = try await failure(.restoreFailedOriginalIntact) {
                _ = try await engine([tree], under: "\(scratch)/out").plan(set.request("r"))
            }
            #expect(missing.cause.contains("'\(scratch)/out' is no directory"))
            try writeFile("\(scratch)/out", "a file")
            let file = try await failure(.restoreFailedOriginalIntact) {
                _ = try await engine([tree], under: "\(scratch)/out").plan(set.request("r"))
            }
            #expect(file.cause.contains("no directory"))
        }
    }

    @Test func aSetWithoutItsPartsIsDamaged() async throws {
        // Shows that a missing part and a listing of another archive are verification failures, by plan and by examination.
        try await withScratchDirectory { scratch in
            try shell(#"mkdir "$1/t"; printf abc > "$1/t/f""#, scratch)
            let source = try engine("\(scratch)/t")
            let set = try await source.take()
            for part in ["files.tar", "listing.jsonl"] {
                var damaged = set
                damaged.parts[part] = nil
                let request = damaged.request("r")
                try await failure(.verificationFailed) { _ = try await source.plan(request) }
                let examine = damaged.examineRequest(recompute: false)
                try await failure(.verificationFailed) { _ = try await source.examine(examine) }
            }
        }
    }

    @Test func anExaminationFindsWhatIsInTheArchive() async throws {
        // Shows that a set proves itself: with the contents computed anew, without them by its structure, and never where
        // archive and listing are of two sets.
        try await withScratchDirectory { scratch in
            try makeEverything("\(scratch)/t")
            let source = try engine("\(scratch)/t")
            let set = try await source.take()
            #expect(try await source.examine(set.examineRequest(recompute: true)).contents == set.contents)
            #expect(try await source.examine(set.examineRequest(recompute: false)).contents == nil)
            try shell(#"printf more > "$1/t/run""#, scratch)
            let later = try await source.take()
            var mixed = set
            mixed.parts["listing.jsonl"] = later.parts["listing.jsonl"]
            let all = mixed.examineRequest(recompute: true)
            try await failure(.verificationFailed) { _ = try await source.examine(all) }
            try shell(#"touch "$1/t/one-more""#, scratch)
            mixed.parts["listing.jsonl"] = try await source.take().parts["listing.jsonl"]
            let counts = mixed.examineRequest(recompute: false)
            try await failure(.verificationFailed) { _ = try await source.examine(counts) }
            mixed = set
            mixed.archive.removeLast(1024)
            let truncated = mixed.examineRequest(recompute: false)
            try await failure(.verificationFailed) { _ = try await source.examine(truncated) }
        }
    }
}
