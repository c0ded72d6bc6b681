import Core
import Glibc

/// The programs of one major version's server, all from one directory: files of a cluster are read by their own version
/// only.
struct ServerTools: Sendable {
    let directory: String
    let major: Int
    /// `15.20`.
    let version: String

    /// Finds the server of exactly `major`; the programs beside it are of the same version.
    static func find(major: Int, in search: ToolSearch) async throws -> ServerTools {
        var found: [String] = []
        for directory in search.directories where access("\(directory)/postgres", X_OK) == 0 {
            guard let tool = try await ToolSearch.look(at: "\(directory)/postgres", name: "postgres") else {
                continue
            }
            if tool.major == major {
                return ServerTools(directory: directory, major: major, version: tool.version)
            }
            found.append(tool.version)
        }
        throw PostgresError.serverProgram("postgres", major: major, found: found)
    }

    func path(of program: String) -> String { "\(directory)/\(program)" }

    func has(_ program: String) -> Bool { access(path(of: program), X_OK) == 0 }

    /// A program run as `owner`.
    func command(
        _ program: String, _ arguments: [String], in directory: String, owner: ClusterOwner?
    ) -> ServerProcess.Command {
        ServerProcess.Command(
            executable: path(of: program), arguments: arguments, directory: directory, owner: owner, label: program)
    }
}
