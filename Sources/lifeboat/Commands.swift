import ArgumentParser
import Core

/// What the command line asks for, before anything is read.
enum Invocation: Sendable {
    /// An event from a file, the environment or standard input.
    case event(file: String?)
    /// A subcommand: the same fields an event would have.
    case fields([String: JSON])
    case checkConfiguration
    /// Makes a bucket what the settings ask, or only looks.
    case provision(check: Bool, store: StoreChoice, target: String?)
    case encrypt(file: String, output: String?)
    case decrypt(file: String, output: String?)
    case wal(WALCall)
}

/// A command that only says what is to be done; doing it is ``Run``'s.
protocol LifeboatCommand: ParsableCommand {
    var invocation: Invocation { get }
}

struct Lifeboat: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "lifeboat",
        abstract: "Backups that are proven restorable: one event in, one backup, verify or restore, one result out.",
        discussion: """
            Without a subcommand the event is read from --event, the variable BACKUP_EVENT, the variables backupType, \
            backupKey and so on, or standard input. The result is one JSON object on standard output.
            """,
        version: programVersion,
        subcommands: [
            BackupCommand.self, VerifyCommand.self, RestoreCommand.self, ListCommand.self, PruneCommand.self,
            HoldCommand.self, ReleaseCommand.self, RewrapCommand.self, ExportCommand.self, WALCommand.self,
            DrillCommand.self, ConfigCommand.self,
            ProvisionCommand.self, EncryptCommand.self, DecryptCommand.self,
        ])

    @Option(name: .long, help: ArgumentHelp("A file that holds the event.", valueName: "file"))
    var event: String?

    var invocation: Invocation { .event(file: event) }
}

/// What every job can say.
struct CommonOptions: ParsableArguments {
    @Option(name: .long, help: "The configured target; may be left out where there is one.")
    var target: String?

    @Option(
        name: .long, help: "The nominal time, as 2025-01-15T07:00:00Z: names the set, and makes a run repeatable.")
    var timestamp: String?

    @Flag(name: .long, help: "Check everything, change nothing.")
    var dryRun = false

    func fields(_ action: String, _ more: [String: JSON?]) -> Invocation {
        var fields = more.compactMapValues { $0 }
        fields["action"] = .string(action)
        if let target { fields["target"] = .string(target) }
        if let timestamp { fields["timestamp"] = .string(timestamp) }
        if dryRun { fields["dryRun"] = .bool(true) }
        return .fields(fields)
    }
}

/// What jobs that read a set can say.
struct ReadingOptions: ParsableArguments {
    @Option(name: .long, help: "primary or secondary: which copy to read; verify also takes both.")
    var store: String?

    @Option(
        name: .long, help: "Seconds to wait for an archived set; without it a thaw is asked for and the run ends.")
    var waitForThaw: Int?

    var fields: [String: JSON?] {
        ["store": store.map { .string($0) }, "waitForThaw": waitForThaw.map { .exact(Int64($0)) }]
    }
}

struct BackupCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(commandName: "backup", abstract: "Make a backup set.")

    @Option(name: .long, help: "hourly, daily, weekly, monthly, annual or manual.")
    var type = "manual"

    @OptionGroup var common: CommonOptions

    var invocation: Invocation { common.fields("backup", ["backupType": .string(type)]) }
}

struct VerifyCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read a set back and say whether it can be relied on.")

    @Argument(help: "daily/backup-…, latest, daily/latest, daily/2025-01-15; without it a recent set is drawn.")
    var key: String?

    @Flag(name: .long, help: "Also compute the contents again from the dump's rows and compare them.")
    var contents = false

    @Option(name: .long, help: "integrity: read every byte; restore: bring the set to life in a scratch place.")
    var depth: String?

    @OptionGroup var reading: ReadingOptions
    @OptionGroup var common: CommonOptions

    var invocation: Invocation {
        common.fields(
            "verify",
            [
                "backupKey": key.map { .string($0) }, "recomputeContents": contents ? .bool(true) : nil,
                "depth": depth.map { .string($0) },
            ]
            .merging(reading.fields) { $1 })
    }
}

struct ListCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the sets, newest first.")

    @Option(name: .long, help: "Only this tier.")
    var tier: String?

    @Option(name: .long, help: "At most so many.")
    var limit: Int?

    @Option(name: .long, help: "primary or secondary: which store to list.")
    var store: String?

    @OptionGroup var common: CommonOptions

    var invocation: Invocation {
        common.fields(
            "list",
            [
                "tier": tier.map { .string($0) }, "limit": limit.map { .exact(Int64($0)) },
                "store": store.map { .string($0) },
            ])
    }
}

struct PruneCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Delete the sets that are past their retention; --dry-run prints the plan.")

    @OptionGroup var common: CommonOptions

    var invocation: Invocation { common.fields("prune", [:]) }
}

struct HoldCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "hold", abstract: "Keep a set from being deleted until the hold is released.")

    @OptionGroup var options: HoldOptions

    var invocation: Invocation { options.fields("hold") }
}

struct ReleaseCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(commandName: "release", abstract: "Lift the hold on a set.")

    @OptionGroup var options: HoldOptions

    var invocation: Invocation { options.fields("release") }
}

/// What setting and lifting a hold take.
struct HoldOptions: ParsableArguments {
    @Argument(help: "daily/backup-…, latest, daily/latest, daily/2025-01-15.")
    var key: String

    @Option(name: .long, help: "Why; it is recorded with the set.")
    var reason: String?

    @OptionGroup var common: CommonOptions

    func fields(_ action: String) -> Invocation {
        common.fields(action, ["backupKey": .string(key), "reason": reason.map { .string($0) }])
    }
}

struct RewrapCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "rewrap", abstract: "Wrap the data keys of existing sets for the recipients of today.")

    @Argument(help: "One set, as daily/backup-…, latest or daily/latest; without it all sets of the target.")
    var key: String?

    @Option(name: .long, help: "primary, secondary or both: which copies; both where there are two.")
    var store: String?

    @OptionGroup var common: CommonOptions

    var invocation: Invocation {
        common.fields("rewrap", ["backupKey": key.map { .string($0) }, "store": store.map { .string($0) }])
    }
}

struct ExportCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write a set out into a directory, freshly sealed for its recipients, for stock tools.")

    @Argument(help: "daily/backup-…, latest, daily/latest, daily/2025-01-15.")
    var key: String

    @Option(name: .long, help: "A directory that is not there yet, or is empty.")
    var to: String?

    @Option(name: .long, help: "primary or secondary: which copy to read.")
    var store: String?

    @OptionGroup var common: CommonOptions

    var invocation: Invocation {
        common.fields(
            "export",
            [
                "backupKey": .string(key), "directory": to.map { .string(absolutePath($0)) },
                "store": store.map { .string($0) },
            ])
    }
}

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Look at the configuration.", subcommands: [CheckCommand.self])
}

struct CheckCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Check the configuration and print what is in force, secrets masked.")

    var invocation: Invocation { .checkConfiguration }
}

struct ProvisionCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "provision",
        abstract:
            "Make a bucket what the settings ask: private, versioned, encrypted, TLS only, with rules and locks.",
        discussion: "Prints one line a finding. Exit code 13 where something falls short, with --check and without.")

    @Flag(name: .long, help: "Look only, and change nothing.")
    var check = false

    @Option(name: .long, help: "primary or secondary: which store's bucket.")
    var store = "primary"

    @Option(name: .long, help: "The configured target; may be left out where there is one.")
    var target: String?

    func validate() throws {
        guard StoreChoice(rawValue: store) ?? .both != .both else {
            throw ValidationError("--store must be primary or secondary")
        }
    }

    var invocation: Invocation {
        .provision(check: check, store: StoreChoice(rawValue: store) ?? .primary, target: target)
    }
}

struct EncryptCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "encrypt", abstract: "Encrypt one file for the configured recipients, beside it.")

    @Argument(help: "The file.")
    var file: String

    @Option(name: .shortAndLong, help: "Where to; FILE.encrypted where it is left out.")
    var output: String?

    var invocation: Invocation { .encrypt(file: file, output: output) }
}

struct DecryptCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "decrypt", abstract: "Decrypt one file with the configured identities, beside it.")

    @Argument(help: "The file; its name ends in .encrypted, or --output says where to.")
    var file: String

    @Option(name: .shortAndLong, help: "Where to; FILE without .encrypted where it is left out.")
    var output: String?

    var invocation: Invocation { .decrypt(file: file, output: output) }
}
