import Core
import Events
import TestSupport
import Testing

@Suite("Events that were damaged at random")
struct EventFuzzTests {
    private static let rounds = runsSoak ? 40_000 : 200

    /// Shows, over mutations of every example, that an event is either a job or an ``EventError`` fit to be shown; that
    /// no mutation asks for a restore without the exact confirmation in it; and that nothing reaches outside the store.
    @Test("a damaged event is a job or a refusal", arguments: 1...UInt64(20))
    func mutations(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let targets = [EventTarget("default"), EventTarget("default", isPhysical: true, hasScratch: true)]
        let examples = try Fixture.names(in: "events").filter { $0 != "schema.json" }
            .map { try Fixture.bytes("events/\($0)") }
        for _ in 0..<Self.rounds {
            let bytes = mutated(examples, &random)
            let target = targets[Int.random(in: 0..<targets.count, using: &random)]
            let reader = EventReader(
                targets: [target], runID: nil, dryRun: false, clock: FixedClock(), random: countingBytes)
            do {
                check(try reader.job(from: EventSources(standardInput: bytes)), of: target, bytes)
            } catch {
                check(error)
            }
        }
    }

    /// Shows that no mutation of a good configuration crashes the reader or makes it show the password in it.
    @Test("a damaged configuration is settings or a refusal", arguments: 1...UInt64(10))
    func configurations(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let good = [ConfigurationTests.severalTargets, SourceConfigurationTests.everyEngine].map {
            Array($0.replacing("pass word", with: BadInput.marker).utf8)
        }
        for _ in 0..<Self.rounds / 4 {
            let yaml = mutated(good, &random)
            let reader = ConfigurationReader(environment: ["LIFEBOAT_CONFIG": "/lifeboat.yaml"]) { path in
                guard path == "/lifeboat.yaml" else { throw NoSuchFile() }
                return yaml
            }
            do {
                _ = try reader.read()
            } catch {
                #expect(error.exitCode == .configuration)
                #expect(!"\(error.description) \(error.hint)".contains(BadInput.marker))
            }
        }
    }

    private func check(_ job: Job, of target: EventTarget, _ bytes: [UInt8]) {
        switch job {
        case .restore(let restore):
            let text = String(decoding: bytes, as: UTF8.self)
            // An escape such as \u0059 spells the phrase too; then it is the parser that has to agree.
            #expect(text.contains("YES_I_WANT_TO_RESTORE") || text.contains("\\u"))
            #expect(restore.key != .random)
            // A database's name, or where a whole server goes a directory.
            if target.isPhysical, restore.sourceDatabase == nil {
                #expect(restore.destination.map { $0.hasPrefix("/") && !$0.contains("/../") } ?? false)
            } else {
                #expect(restore.destination.map { $0.utf8.count <= 63 } ?? true)
            }
            if case .time(let microseconds)? = restore.recoveryTarget?.point {
                #expect(microseconds <= FixedClock().now().milliseconds * 1000 + 999)
            }
            #expect(!restore.key.description.contains(".."))
        case .verify(let verify):
            #expect(!verify.key.description.contains(".."))
            #expect(target.hasScratch || verify.depth == .integrity)
        case .backup(let backup):
            #expect(backup.tier != .safety)
        case .list(let list):
            #expect((1...100_000).contains(list.limit))
        case .hold(let hold):
            #expect(hold.key != .random && !hold.reason.isEmpty)
        case .export(let export):
            #expect(export.key != .random && export.directory.hasPrefix("/") && !export.directory.contains("/../"))
        case .wal:
            #expect(target.isPhysical)
        case .drill(let drill):
            #expect(target.hasScratch || drill.scenario == .keyLoss)
        case .prune, .rewrap:
            break
        }
    }

    private func check(_ error: EventError) {
        #expect(error.exitCode == .eventRefused || error.exitCode == .restoreNotConfirmed)
        for text in [error.description, error.hint] {
            #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
            #expect(text.utf8.count < 1000)
        }
    }

    private func mutated(_ examples: [[UInt8]], _ random: inout SeededRandom) -> [UInt8] {
        var bytes = examples.randomElement(using: &random) ?? []
        for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 2: bytes.remove(at: at)
            case 3: bytes.insert(Array("\"\\{}[]:,0 \n".utf8).randomElement(using: &random) ?? 0, at: at)
            case 4: bytes.removeSubrange(at...)
            default:
                let other = examples.randomElement(using: &random) ?? []
                let from = Int.random(in: 0...other.count, using: &random)
                bytes.replaceSubrange(at..., with: other[from...])
            }
        }
        return bytes
    }
}
