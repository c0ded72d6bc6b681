import Core

/// Whether a place to rehearse in is what the target itself keeps its data in. Nothing is ever restored over it there, but
/// a rehearsal would load the very server, or fill the very directory, that it is to be without.
struct RehearsalPlace {
    let source: SourceSettings

    /// A destination leads to the source's own database.
    func isSource(_ destination: DestinationSettings) -> Bool {
        switch (source, destination) {
        case (.postgres(let own), .postgres(let other)):
            Self.server(own.host, own.port) == Self.server(other.host, other.port) && own.database == other.database
        case (.mysql(let own), .mysql(let other)):
            Self.server(own.host, own.port) == Self.server(other.host, other.port) && own.database == other.database
        case (.mongodb(let own), .mongodb(let other)):
            // One that names no database means all of them.
            !Self.hosts(own.hosts).isDisjoint(with: Self.hosts(other.hosts))
                && (own.database == nil || other.database == nil || own.database == other.database)
        default: false
        }
    }

    /// What of the source `directory` is or lies in; `nil` where it is apart from it.
    func directory(holding directory: String) -> String? {
        let own: [String] =
            switch source {
            case .files(let settings): settings.paths
            case .keys(let settings): settings.paths
            case .auditRecords(let settings):
                if case .files(let pattern) = settings.source { [Self.parent(pattern)] } else { [] }
            case .postgres, .mysql, .mongodb: []
            }
        return own.first { AbsolutePath.contains($0, directory) }
    }

    private static func parent(_ pattern: String) -> String {
        pattern.lastIndex(of: "/").map { $0 == pattern.startIndex ? "/" : String(pattern[..<$0]) } ?? pattern
    }

    /// One way of writing it; a socket has no port.
    private static func server(_ host: String, _ port: Int) -> String {
        guard !host.hasPrefix("/") else { return host }
        let name = host.lowercased()
        return "\(["localhost", "::1", "[::1]"].contains(name) ? "127.0.0.1" : name):\(port)"
    }

    private static func hosts(_ text: String) -> Set<String> {
        Set(
            text.split(separator: ",").map { host in
                let colon = host.hasSuffix("]") ? nil : host.lastIndex(of: ":")
                let port = colon.flatMap { Int(host[host.index(after: $0)...]) }
                return server(String(port == nil ? host : host[..<(colon ?? host.endIndex)]), port ?? 27017)
            })
    }
}
