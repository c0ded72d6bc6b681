package import Core

/// Where and with what a physical set is brought back to life.
///
/// The settings are `RESTORE_DIRECTORY` (or `SCRATCH_DIRECTORY`), `POSTGRES_BIN` and `POSTGRES_PRELOAD_LIBRARIES`; the
/// rest is the program's own.
package struct RecoverySite: Sendable {
    /// The absolute path of a directory that is empty, or not there yet. The cluster becomes `data` in it, its
    /// tablespaces `tablespaces/<oid>`.
    ///
    /// PostgreSQL's programs run as its owner, for they refuse to be root.
    package var directory: String
    /// Where the programs of the set's major version are looked for.
    package var tools: ToolSearch
    /// A program, and its first arguments, that gets a file of the log from this process: followed by the path of a
    /// socket, the file's name and the path to write it to, as ``WALHandOver/fetch(socket:name:path:)`` does. The server
    /// calls it as its `restore_command`.
    package var handOver: [String]
    /// Where a private directory for sockets is made. Short, for the path of a socket has 107 bytes at most.
    package var temporaryDirectory: String
    /// Libraries that the server needs to be loaded when it starts, by name. Those that the cluster was configured with
    /// are not loaded by themselves: some begin to work on their own.
    package var preloadLibraries: [String]
    /// Random bytes for the names of temporary directories.
    package var random: RandomBytes

    package init(
        directory: String, tools: ToolSearch, handOver: [String], temporaryDirectory: String = "/tmp",
        preloadLibraries: [String] = [], random: @escaping RandomBytes
    ) {
        self.directory = directory
        self.tools = tools
        self.handOver = handOver
        self.temporaryDirectory = temporaryDirectory
        self.preloadLibraries = preloadLibraries
        self.random = random
    }

    /// For people.
    var label: String { "the directory \(directory)" }

    /// The same with another directory.
    func at(_ directory: String) -> RecoverySite {
        var site = self
        site.directory = directory
        return site
    }
}
