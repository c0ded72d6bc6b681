package import Core

extension PostgresDatabase {
    /// What is restored is one database of a whole server, and how large it is shows only when that has been recovered.
    /// The one that stands here is the best guess, for it is most often the same at another time.
    package func survey(_ request: SurveyRequest) async throws -> RestoreSummary {
        try await failedRestore {
            let connection = try await Destination.openBeside(endpoint)
            defer { connection.close() }
            let destination = try await Destination.read(connection, name: endpoint.database)
            let likely = destination.existing?.size ?? request.manifest.sourceSize
            var summary = RestoreSummary(
                replaces: destination.existing.map { "\(endpoint.label), \(DiskCheck.text($0.size))" },
                alreadyDone: DatabaseRestore.isDone(request.requestID, request.manifest.key, destination),
                neededBytes: DiskCheck.needed(for: likely),
                freeBytes: try await DiskCheck.free(connection, tablespace: "pg_default"), notes: [])
            guard !summary.alreadyDone else { return summary }
            var preflight = DestinationPreflight(
                connection: connection, destination: destination, restore: DestinationPreflight.Restore(request))
            try await preflight.run()
            var problems = preflight.problems
            if let missing = try await DatabaseRestore.findPrograms(self, destination).missing {
                problems.append(missing)
            }
            summary.notes = preflight.notes
            let needed = DiskCheck.text(summary.neededBytes)
            switch summary.freeBytes {
            case let free? where free < summary.neededBytes:
                summary.notes.append(
                    "the server's disk has \(DiskCheck.text(free)) free, and the database may need \(needed): whether "
                        + "it does shows once it has been recovered")
            case nil where !request.acknowledgeDisk:
                problems.append(
                    "how much disk the server has free cannot be seen from here; the restore may need \(needed) (make "
                        + "sure, then set acknowledgeDisk)")
            default: break
            }
            guard problems.isEmpty else { throw PostgresError.refused(problems, at: endpoint.label) }
            return summary
        }
    }
}
