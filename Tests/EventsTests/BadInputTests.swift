import Core
import Events
import Testing

@Suite("Bad events and configurations")
struct BadInputTests {
    private static let directory = "/nowhere/lifeboat"

    /// Shows that each case of the table is refused with its code, names its field, says what to do, and shows no
    /// secret, by reading configuration and event as the program does.
    @Test("each case of the table is refused as it should be", arguments: try BadInput.table(directory: directory))
    func refused(_ input: BadInput) throws {
        let refusal = refusal(of: input)
        let failure = try #require(refusal, "\(input.name) was accepted")
        #expect(failure.exitCode == input.exitCode, "\(failure)")
        #expect(failure.object == input.field, "\(failure)")
        #expect(!failure.cause.isEmpty && !failure.hint.isEmpty)
        for text in [failure.description, failure.operation, failure.object, failure.cause, failure.hint] {
            #expect(!text.contains(BadInput.marker), "a secret is shown: \(text)")
            #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
            #expect(text.utf8.count < 1000)
        }
    }

    /// Shows that the table is as long as was promised, and that no name stands twice.
    @Test func tableIsComplete() throws {
        let table = try BadInput.table(directory: Self.directory)
        #expect(table.count >= 540)
        #expect(Set(table.map(\.name)).count == table.count)
    }

    /// Shows that the base of the table is good by itself, so that each case fails for its own reason only.
    @Test func baseIsGood() throws {
        var input = try #require(try BadInput.table(directory: Self.directory).first)
        input.event = "{\"action\":\"list\"}"
        #expect(refusal(of: input) == nil)
    }

    private func refusal(of input: BadInput) -> (any Failure)? {
        var environment = input.environment
        var files: [String: String] = ["\(Self.directory)/clinic.key": BadInput.marker]
        if let yaml = input.yaml {
            environment["LIFEBOAT_CONFIG"] = "\(Self.directory)/lifeboat.yaml"
            files["\(Self.directory)/lifeboat.yaml"] = yaml
        }
        environment["BACKUP_EVENT"] = input.event
        do {
            let configuration = configurationReader(environment, files: files)
            _ = try configuration.secretReferences()
            let settings = try configuration.read().settings
            let reader = EventReader(
                targets: settings.targets.map(\.forEvents), runID: settings.runID, dryRun: settings.dryRun,
                clock: FixedClock(), random: countingBytes)
            _ = try reader.job(from: EventSources(environment: environment))
            return nil
        } catch let error as any Failure {
            return error
        } catch {
            Issue.record("another error: \(error)")
            return nil
        }
    }
}

/// It is 2025-06-01T12:00:00Z.
struct FixedClock: WallClock {
    func now() -> Timestamp { Timestamp(milliseconds: 1_748_779_200_000) }
}

/// 0, 1, 2 …: for identities that a test can foretell.
@Sendable func countingBytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0) } }

struct NoSuchFile: Error, CustomStringConvertible {
    var description: String { "there is no such file" }
}

/// Reads a configuration whose files are in memory.
func configuration(
    _ environment: [String: String], files: [String: String] = [:], secrets: [SecretReference: Secret] = [:]
) throws(ConfigurationError) -> (settings: Settings, summary: ConfigurationSummary) {
    try configurationReader(environment, files: files).read(secrets: secrets)
}

func configurationReader(_ environment: [String: String], files: [String: String]) -> ConfigurationReader {
    ConfigurationReader(environment: environment) { path in
        guard let text = files[path] else { throw NoSuchFile() }
        return Array(text.utf8)
    }
}
