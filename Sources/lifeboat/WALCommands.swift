import ArgumentParser
import Core
import Operations

/// What a server's own archive_command or restore_command asks for, one file at a time.
enum WALCall: Sendable {
    /// Stores the file at `path`.
    case push(path: String, target: String?)
    /// Puts the file that the server calls `name` at `path`.
    case fetch(name: String, path: String, target: String?)
    /// The same for a recovery that a job runs: asked of the job at `socket`, which has the keys.
    case handOver(socket: String, name: String, path: String)

    /// How a restore_command ends where it cannot be found out whether the file is stored. A server takes every status up
    /// to 125 for the end of its log, and would stop there without a word (PostgreSQL documentation,
    /// "restore_command").
    static let endsRecovery = WALFetch.failureStatus

    /// A restore_command, whose user errors must not look like the end of the log either.
    static func isFetch(_ arguments: [String]) -> Bool {
        arguments.starts(with: ["wal", "fetch"]) || arguments.starts(with: ["wal", "hand-over"])
    }
}

struct WALCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "wal", abstract: "Bring the server's write-ahead log into the store, up to now.",
        discussion: "The subcommands are for servers that archive their log themselves.",
        subcommands: [WALPushCommand.self, WALFetchCommand.self, WALHandOverCommand.self])

    @OptionGroup var common: CommonOptions

    var invocation: Invocation { common.fields("wal", [:]) }
}

struct WALPushCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "push",
        abstract: "Store one file of the log: archive_command = 'lifeboat wal push %p'.",
        discussion: "Safe to repeat; a different file of the same name is refused.")

    @Argument(help: "The file, as the server's %p.")
    var file: String

    @Option(name: .long, help: "The configured target; may be left out where there is one.")
    var target: String?

    var invocation: Invocation { .wal(.push(path: file, target: target)) }
}

struct WALFetchCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Bring one file of the log back: restore_command = 'lifeboat wal fetch %f %p'.",
        discussion: "Exit code 1 where it is not stored, 126 where that could not be found out.")

    @Argument(help: "The file's name, as the server's %f.")
    var name: String

    @Argument(help: "Where to, as the server's %p.")
    var path: String

    @Option(name: .long, help: "The configured target; may be left out where there is one.")
    var target: String?

    var invocation: Invocation { .wal(.fetch(name: name, path: path, target: target)) }
}

struct WALHandOverCommand: LifeboatCommand {
    static let configuration = CommandConfiguration(
        commandName: "hand-over", abstract: "What a recovery inside a job gets its log with.", shouldDisplay: false)

    @Argument(help: "The job's socket.")
    var socket: String

    @Argument(help: "The file's name.")
    var name: String

    @Argument(help: "Where to.")
    var path: String

    var invocation: Invocation { .wal(.handOver(socket: socket, name: name, path: path)) }
}
