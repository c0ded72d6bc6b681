import Core
import Glibc
import TestSupport
import Testing

@testable import FilesEngine

struct RestoreTests {
    /// A tree with a few files, whose text tells which version it is.
    private func makeTree(_ path: String, _ version: String) throws {
        try shell(
            #"rm -rf "$1"; mkdir -p "$1/sub"; printf %s "$2" > "$1/sub/f"; printf %s "$2" > "$1/g""#, path, version)
    }

    /// What stands beside the trees in their directory.
    private func workshops(_ directory: String) throws -> [String] {
        try names(directory).filter { $0.contains(".lifeboat-") }
    }

    @Test func aRestoreBringsBackEverythingThatIsStored() async throws {
        // Shows the whole way for one of everything: the tree is damaged, restored in place, and equal afterwards, hidden
        // attributes included; what it replaced stands beside as it was.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/tree"
            try makeEverything(tree)
            do { try addAttributes(tree) } catch {
                Issue.record("the scratch directory keeps no attributes: \(error)")
            }
            let set = try await engine(tree).take()
            let status = try shell(
                #"stat -c '%n %a %u %g %Y %h %F' "$1/run" "$1/closed" "$1/third.csv" "$1/pipe""#, tree)
            try shell(#"cd "$1"; chmod -R u+rwX .; rm -r records; printf evil > run; chmod 777 ."#, tree)
            let damaged = try await engine(tree).take()
            let promotion = try await engine(tree).restore(set.request("r"), safety: damaged)
            #expect(try await engine(tree).take().contents == set.contents)
            #expect(
                try shell(#"stat -c '%n %a %u %g %Y %h %F' "$1/run" "$1/closed" "$1/third.csv" "$1/pipe""#, tree)
                    == status)
            #expect(try shell(#"getfattr --only-values -n user.clinic "$1/third.csv""#, tree).hasSuffix("north"))
            #expect(promotion.notes.contains { $0.hasPrefix("1 restored files run as their owner") })
            let aside = try #require(promotion.replacedName)
            let kept = try await TreesRestore.plan(try engine(tree), set.request("x")).read([(tree, aside)])
            #expect(kept == damaged.contents)
        }
    }

    @Test func aRestoreUnderAnotherDirectoryLeavesTheSourceAlone() async throws {
        // Shows that a destination gets the trees below it, that the source stays as it is, and that the same set goes
        // there again over what stands there by then.
        try await withScratchDirectory { scratch in
            try makeTree("\(scratch)/a", "one")
            try makeTree("\(scratch)/b", "one")
            let source = try engine("\(scratch)/a", "\(scratch)/b")
            let set = try await source.take()
            try makeTree("\(scratch)/a", "two")
            mkdir("\(scratch)/out", 0o700)
            let destination = try engine(["\(scratch)/a", "\(scratch)/b"], under: "\(scratch)/out")
            let first = try await destination.restore(set.request("r"))
            #expect(first.replacedName == nil)
            #expect(try text("\(scratch)/a/g") == "two" && text("\(scratch)/out\(scratch)/a/g") == "one")
            #expect(try text("\(scratch)/out\(scratch)/b/sub/f") == "one")
            #expect(try await destination.take().contents == set.contents)
            let plan = try await destination.plan(set.request("s"))
            #expect(plan.summary.replaces?.contains("\(scratch)/out\(scratch)/b") == true)
        }
    }

    @Test func aReplayFindsTheRestoreDone() async throws {
        // Shows that the same request is done once, for a tree that replaced another and for one that did not, and that
        // another request, or another tree put there since, is a new restore.
        try await withScratchDirectory { scratch in
            let (a, b) = ("\(scratch)/a", "\(scratch)/b")
            try makeTree(a, "one")
            try makeTree(b, "one")
            let set = try await engine(a, b).take()
            try shell(#"rm -r "$1""#, b)
            try await engine(a, b).restore(set.request("r"), safety: set)
            #expect(try await engine(a, b).plan(set.request("r")).summary.alreadyDone)
            #expect(try await !engine(a, b).plan(set.request("s")).summary.alreadyDone)
            try await failure(.restoreFailedOriginalIntact) {
                _ = try await engine(a, b).plan(set.request("r")).stage()
            }
            // The number of a file that was removed is given to the next one that is made.
            try shell(#"rm -r "$1"; mkdir "$1""#, b)
            #expect(try await !engine(a, b).plan(set.request("r")).summary.alreadyDone)
        }
    }

    // MARK: What earlier runs left

    @Test func whatWasReplacedGoesOnlyWhenAVerifiedSetHoldsIt() async throws {
        // Shows the rule for the tree that a restore put aside: kept without a safety set, kept where the set holds
        // something else, kept where files were excluded from it, removed where it holds exactly that.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try makeTree(tree, "one")
            let set = try await engine(tree).take()
            try makeTree(tree, "two")
            let saved = try await engine(tree).take()
            try await engine(tree).restore(set.request("r1"), safety: saved)
            let aside = try workshops(scratch)
            #expect(aside.count == 1)

            let unknown = try await engine(tree).restore(set.request("r2"), safetyKey: testKey)
            #expect(unknown.notes.contains { $0.contains("not there or not proven") })
            #expect(try workshops(scratch).count == 2)

            let other = try await engine(tree).restore(set.request("r3", saved: set), safetyKey: testKey)
            #expect(other.notes.contains { $0.contains("is not what its safety backup") })
            // What r2 replaced was the set itself, and so is held by it; what r1 and r3 replaced stays.
            #expect(try workshops(scratch).count { exists("\(scratch)/\($0)/tree") } == 2)

            try await engine(tree).restore(set.request("r4", saved: saved), safetyKey: testKey)
            #expect(try !workshops(scratch).contains(aside[0]))

            let unsaved = try await engine(tree).restore(set.request("r5", saved: set))
            #expect(unsaved.notes.allSatisfy { !$0.contains("is kept") })
            let kept = try await engine(tree).restore(set.request("r6", saved: set))
            #expect(kept.notes.contains { $0.contains("no safety backup was made of it") })
        }
    }

    @Test func anAsideWithExcludedFilesIsNeverRemoved() async throws {
        // Shows that files which no set holds survive: the tree put aside is compared with nothing left out.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try makeTree(tree, "one")
            try writeFile("\(tree)/x.cache", "in no set")
            let source = try engine(tree, excludes: ["*.cache"])
            let set = try await source.take()
            let plan = try await source.plan(set.request("r"))
            #expect(plan.summary.notes.contains { $0.contains("FILES_EXCLUDE") })
            try await source.restore(set.request("r1"), safety: set)
            try await source.restore(set.request("r2", saved: set), safety: set)
            let kept = try workshops(scratch).filter { exists("\(scratch)/\($0)/tree/x.cache") }
            #expect(kept.count == 1)
        }
    }

    @Test func whatKilledRunsLeftIsClearedAndNothingElse() async throws {
        // Shows every state in which a run can be killed before its exchange: a workshop without a marker, with half a one,
        // with a marker and half a tree. The next restore removes those, and nothing that only looks alike.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try makeTree(tree, "one")
            let set = try await engine(tree).take()
            let exchange = DirectoryExchange(of: tree, random: { [UInt8](repeating: 0xA0, count: $0) })
            _ = try exchange.stage(requestID: .run("killed"), setKey: testKey)
            let second = DirectoryExchange(of: tree, random: { [UInt8](repeating: 0xA1, count: $0) })
            let staged = try second.stage(requestID: .run("killed"), setKey: testKey)
            try shell(#"mkdir "$1"; touch "$1/half""#, staged.path)
            let third = DirectoryExchange(of: tree, random: { [UInt8](repeating: 0xA2, count: $0) })
            let marked = try third.stage(requestID: .run("killed"), setKey: testKey)
            try shell(#"mkdir "$1"; touch "$1/half""#, marked.path)
            try marked.mark()
            try shell(
                #"""
                cd "$1"
                mkdir .t.lifeboat-00000001
                mkdir .t.lifeboat-00000002; printf '{"for' > .t.lifeboat-00000002/marker.json.new
                mkdir .t.lifeboat-00000003; printf mine > .t.lifeboat-00000003/file
                mkdir .t.lifeboat-mine; touch .t.lifeboat-00000004
                cp -r .t.lifeboat-a2a2a2a2 .t.lifeboat-00000005
                sed -i 's#/t"#/other"#' .t.lifeboat-00000005/marker.json
                mv .t.lifeboat-a2a2a2a2 renamed-by-a-person
                """#, scratch)
            try await engine(tree).restore(set.request("r"), safety: set)
            let left = try workshops(scratch).filter { !exists("\(scratch)/\($0)/tree/sub") }
            #expect(
                left.sorted() == [
                    ".t.lifeboat-00000003", ".t.lifeboat-00000004", ".t.lifeboat-00000005", ".t.lifeboat-mine",
                ])
            #expect(exists("\(scratch)/renamed-by-a-person/tree/half"))
        }
    }

    @Test func aRunKilledBetweenTwoExchangesIsMadeWholeByTheNext() async throws {
        // Shows the one state that several trees add: the first is exchanged, the second not. The next run restores both,
        // keeps what the first replaced, and is done afterwards.
        try await withScratchDirectory { scratch in
            let (a, b) = ("\(scratch)/a", "\(scratch)/b")
            try makeTree(a, "one")
            try makeTree(b, "one")
            let set = try await engine(a, b).take()
            try makeTree(a, "two")
            try makeTree(b, "two")
            let saved = try await engine(a, b).take()
            let source = try engine(a, b)
            let staged = try #require(try await source.plan(set.request("r")).stage() as? StagedTrees)
            _ = staged
            // The first exchange of the killed run, by the call that it makes.
            let beside = try #require(try workshops(scratch).first { $0.hasPrefix(".a.") })
            try shell(#"cd "$1"; mv a a.old; mv "$2/tree" a; mv a.old "$2/tree""#, scratch, beside)
            #expect(try text("\(a)/g") == "one" && text("\(b)/g") == "two")

            try await engine(a, b).restore(set.request("r", saved: saved), safety: saved)
            #expect(try text("\(a)/g") == "one" && text("\(b)/g") == "one")
            #expect(try await engine(a, b).plan(set.request("r")).summary.alreadyDone)
            let kept = try workshops(scratch).map { try? text("\(scratch)/\($0)/tree/g") }
            #expect(kept.count { $0 == "two" } == 2)
        }
    }

    // MARK: Failures before and after the exchange

    @Test func whatDiffersFromTheSetIsNamedAndNothingIsReplaced() async throws {
        // Shows that a staged tree somebody has tampered with is found by reading it back, with the path and what differs.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try makeTree(tree, "one")
            let set = try await engine(tree).take()
            for (change, words) in [
                ("printf ONE > sub/f", "sub/f' has another mtime, sha256"), ("rm g", "g' is missing"),
                ("chmod 600 g", "g' has another mode"), ("rm g; ln -s sub/f g", "has another"),
                ("touch -d @1 .; : > more", "t' has another mtime"),
            ] {
                let staged = try await engine(tree).plan(set.request("r")).stage()
                let beside = try #require(try workshops(scratch).first)
                try shell(#"cd "$1"; \#(change)"#, "\(scratch)/\(beside)/tree")
                let failure = try await failure(.restoreFailedOriginalIntact) { _ = try await staged.inspect() }
                #expect(failure.cause.contains(words), "\(change): \(failure.cause)")
                try await staged.discard()
                try await staged.discard()
                #expect(try workshops(scratch) == [])
                #expect(try text("\(tree)/g") == "one")
            }
        }
    }

    @Test func aTreeThatSomebodyReplacedMeanwhileIsNotOverwritten() async throws {
        // Shows that what stands there at the exchange must be what was planned for: 15, and it stays.
        try await withScratchDirectory { scratch in
            let tree = "\(scratch)/t"
            try makeTree(tree, "one")
            let set = try await engine(tree).take()
            for change in [#"mv "$1" "$1.old"; mkdir "$1""#, #"rm -rf "$1""#] {
                let staged = try await engine(tree).plan(set.request("r")).stage()
                try shell(change, tree)
                let failure = try await failure(.restoreFailedOriginalIntact) { try await promote(staged, set) }
                #expect(failure.cause.contains("something else stands there"))
                try await staged.discard()
                #expect(!exists("\(tree)/g"))
                try makeTree(tree, "one")
            }
            try shell(#"rm -r "$1""#, tree)
            let staged = try await engine(tree).plan(set.request("r")).stage()
            try makeTree(tree, "of somebody else")
            try await failure(.restoreFailedOriginalIntact) { try await promote(staged, set) }
            #expect(try text("\(tree)/g") == "of somebody else")
            try await staged.discard()
        }
    }

    private func promote(_ staged: any StagedRestore, _ set: TakenSet) async throws {
        let marker = RestoreMarker(requestID: .run("r"), setKey: testKey, safetyKey: testKey, time: testTime)
        _ = try await staged.promote(PromotionRequest(marker: marker, safety: set.safety, meter: ProgressMeter()))
    }

    @Test func aSecondExchangeThatFailsTakesTheFirstBack() async throws {
        // Shows that several trees are exchanged all or none: where the second fails the first is put back (16), and where
        // that fails too it is 17, with both names.
        try await withScratchDirectory { scratch in
            let (a, b) = ("\(scratch)/a", "\(scratch)/b")
            try makeTree(a, "one")
            try makeTree(b, "one")
            let staged = try stage(a, b)
            let standing = [try staged[0].exchange.standing(), try staged[1].exchange.standing()]
            let marker = RestoreMarker(requestID: .run("r"), setKey: testKey, safetyKey: testKey, time: testTime)
            let rolledBack = try await failure(.restoreFailedRolledBack) {
                _ = try StagedTree.promote(staged, standing: standing, marker: marker) { number throws(FilesError) in
                    if number == 1 { throw .missing("the second") }
                }
            }
            #expect(rolledBack.cause.contains("was put back"))
            #expect(try text("\(a)/g") == "one" && text("\(b)/g") == "one")

            let lost = try await failure(.rollbackFailed) {
                _ = try StagedTree.promote(staged, standing: standing, marker: marker) { number throws(FilesError) in
                    guard number == 1 else { return }
                    rename(staged[0].path, staged[0].path + ".gone")
                    throw .missing("the second")
                }
            }
            #expect(lost.hint.contains(a) && lost.hint.contains(staged[0].path))
        }
    }

    private func stage(_ paths: String...) throws -> [StagedTree] {
        try paths.enumerated().map { number, path in
            let exchange = DirectoryExchange(of: path, random: { [UInt8](repeating: UInt8(number), count: $0) })
            let staged = try exchange.stage(requestID: .run("r"), setKey: testKey)
            try shell(#"mkdir "$1"; printf new > "$1/g""#, staged.path)
            try staged.mark()
            return staged
        }
    }

    @Test func aDiskThatFillsLeavesTheOriginalAndNothingBeside() async throws {
        // Shows that a restore which runs out of room while it stages ends with 15, says so, and clears up.
        guard RealPart.mounting.isPresent || runsInCI else { return }
        try await withScratchDirectory { scratch in
            let disk = "\(scratch)/disk"
            mkdir(disk, 0o700)
            #expect(mount("none", disk, "tmpfs", 0, "size=4m") == 0)
            defer { umount2(disk, Int32(MNT_DETACH)) }
            let tree = "\(disk)/t"
            try shell(#"mkdir "$1"; head -c 3000000 /dev/urandom > "$1/f""#, tree)
            let set = try await engine(tree).take()
            let refused = try await failure(.restoreFailedOriginalIntact) {
                _ = try await engine(tree).plan(set.request("r", disk: false))
            }
            #expect(refused.cause.contains("bytes free"))
            let full = try await failure(.restoreFailedOriginalIntact) {
                _ = try await engine(tree).plan(set.request("r")).stage()
            }
            #expect(full.hint.contains("make room"))
            #expect(try names(disk) == ["t"] && names(tree) == ["f"])
        }
    }
}
