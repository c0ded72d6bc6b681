import Core

/// Something is wrong with what a base backup consists of, whether it comes from the server or out of a set.
struct PhysicalProblem: Error, Equatable {
    /// `base.tar`, `backup_manifest`.
    var part: String
    var problem: String

    init(_ part: String, _ problem: String) {
        self.part = part
        self.problem = problem
    }

    /// It comes from the server, which has to be asked again.
    func ofServer(_ server: String) -> PostgresError {
        PostgresError(
            .incompleteDump, "back up the server", object: server, cause: "\(part): \(problem)",
            hint: "nothing was stored; run again, and if it stays so, run pg_basebackup and pg_verifybackup by hand")
    }

    /// It stands in a set.
    var ofSet: PostgresError { .damagedPart(part, problem) }
}

/// A path or name for people: without bytes that a terminal or a log could take for something else.
func shown(path: some Collection<UInt8>) -> String {
    guard let text = String(validating: path, as: UTF8.self) else {
        return "the name with the bytes " + hexText(Array(path))
    }
    return "'" + text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : String($0) }.joined()
        + "'"
}
